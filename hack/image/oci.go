package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path"
	"runtime"
	"sort"
	"strings"
)

// user is who the container runs as: a number, so that Pod Security can see
// that it is not root, and the one that "nonroot" images have in common.
const user = "65532:65532"

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

// File is one file of an image.
type File struct {
	Path string
	Data []byte
}

// Image is a built image: its blobs, the manifest last.
type Image struct {
	blobs    [][]byte
	manifest descriptor
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Build makes an image of the files; the first of them is its entry point.
func Build(files []File) (*Image, error) {
	layer, err := layerOf(files)
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config": map[string]any{
			"Entrypoint": []string{files[0].Path},
			"User":       user,
			"WorkingDir": "/",
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(layer)}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     manifestType,
		"config":        describe(configType, config),
		"layers":        []descriptor{describe(layerType, layer)},
	})
	if err != nil {
		return nil, err
	}
	return &Image{
		blobs:    [][]byte{layer, config, manifest},
		manifest: describe(manifestType, manifest),
	}, nil
}

// Tag is the start of the manifest's digest: it changes exactly when the content does.
func (i *Image) Tag() string {
	return strings.TrimPrefix(i.manifest.Digest, "sha256:")[:12]
}

// Archive is the image as an OCI layout in a tar file, known under ref.
// containerd and the OCI specification each have a name for that annotation.
func (i *Image) Archive(ref string) ([]byte, error) {
	entry := i.manifest
	entry.Annotations = map[string]string{
		"io.containerd.image.name":          ref,
		"org.opencontainers.image.ref.name": ref,
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []descriptor{entry}})
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(name string, data []byte) {
		if err == nil {
			err = addFile(w, name, 0o644, data)
		}
	}
	add("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	add("index.json", index)
	for _, blob := range i.blobs {
		add("blobs/sha256/"+strings.TrimPrefix(digest(blob), "sha256:"), blob)
	}
	if err != nil {
		return nil, err
	}
	return out.Bytes(), w.Close()
}

// layerOf is the file system: each file's folders first, everything root's, no times.
func layerOf(files []File) ([]byte, error) {
	sorted := append([]File(nil), files...)
	sort.Slice(sorted, func(a, b int) bool { return sorted[a].Path < sorted[b].Path })

	var out bytes.Buffer
	w := tar.NewWriter(&out)
	made := map[string]bool{"/": true}
	for _, f := range sorted {
		if err := addFolders(w, path.Dir(f.Path), made); err != nil {
			return nil, err
		}
		if err := addFile(w, strings.TrimPrefix(f.Path, "/"), 0o755, f.Data); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), w.Close()
}

func addFolders(w *tar.Writer, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	if err := addFolders(w, path.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	return w.WriteHeader(&tar.Header{
		Typeflag: tar.TypeDir, Name: strings.TrimPrefix(dir, "/") + "/", Mode: 0o755, Format: tar.FormatUSTAR,
	})
}

func addFile(w *tar.Writer, name string, mode int64, data []byte) error {
	err := w.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data)), Format: tar.FormatUSTAR,
	})
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

func describe(mediaType string, data []byte) descriptor {
	return descriptor{MediaType: mediaType, Digest: digest(data), Size: len(data)}
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
