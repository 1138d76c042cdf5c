// CodeMirror on a shared text.

import { defaultKeymap, indentWithTab } from '@codemirror/commands'
import { EditorState } from '@codemirror/state'
import { drawSelection, EditorView, highlightActiveLine, keymap, lineNumbers, placeholder } from '@codemirror/view'
import { yCollab, yUndoManagerKeymap } from 'y-codemirror.next'
import type { Awareness } from 'y-protocols/awareness'
import * as Y from 'yjs'

/** Shows `text` in `parent`, with the cursors of all. */
export function showEditor(parent: Element, text: Y.Text, awareness: Awareness): EditorView {
  // Undoes what was written here, never what others wrote.
  const undoManager = new Y.UndoManager(text)
  const extensions = [
    lineNumbers(),
    drawSelection(),
    highlightActiveLine(),
    EditorView.lineWrapping,
    EditorView.contentAttributes.of({ 'aria-label': 'The shared text' }),
    placeholder('Write something; everybody in the session sees it.'),
    keymap.of([...yUndoManagerKeymap, ...defaultKeymap, indentWithTab]),
    yCollab(text, awareness, { undoManager }),
  ]
  const view = new EditorView({ parent, state: EditorState.create({ doc: text.toString(), extensions }) })
  view.focus()
  return view
}
