// Command image packs files into a one-layer OCI image archive. The same files
// always give the same bytes: no clock, no user, no path of the machine goes in.
//
//	image -name localhost/convene -dir OUT -max-mb 40 binary:/convene
//
// prints the image's reference, whose tag is the start of the content's hash,
// and the archive's path: "localhost/convene:3f9c2a1b7d40 OUT/convene-3f9c2a1b7d40.tar".
// The first file is the entry point. There is no engine and no registry in this.
package main

import (
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

func main() {
	name := flag.String("name", "", "name of the image, without a tag")
	dir := flag.String("dir", "", "folder to put the archive into")
	maxMB := flag.Int("max-mb", 0, "refuse an archive larger than this many megabytes (0: any size)")
	flag.Parse()

	ref, file, err := run(*name, *dir, *maxMB, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "error: image:", err)
		os.Exit(1)
	}
	fmt.Println(ref, file)
}

func run(name, dir string, maxMB int, args []string) (ref, file string, err error) {
	if name == "" || dir == "" || len(args) == 0 {
		return "", "", fmt.Errorf("usage: image -name NAME -dir FOLDER [-max-mb N] FILE:/PATH/IN/IMAGE...")
	}
	var files []File
	for _, arg := range args {
		from, to, found := strings.Cut(arg, ":")
		if !found || !path.IsAbs(to) {
			return "", "", fmt.Errorf("%q: want FILE:/PATH/IN/IMAGE", arg)
		}
		data, err := os.ReadFile(from)
		if err != nil {
			return "", "", err
		}
		files = append(files, File{Path: path.Clean(to), Data: data})
	}

	img, err := Build(files)
	if err != nil {
		return "", "", err
	}
	ref = name + ":" + img.Tag()
	archive, err := img.Archive(ref)
	if err != nil {
		return "", "", err
	}
	if limit := maxMB * 1000 * 1000; limit > 0 && len(archive) > limit {
		return "", "", fmt.Errorf("%s is %d bytes; the limit is %d MB", ref, len(archive), maxMB)
	}
	file = filepath.Join(dir, path.Base(name)+"-"+img.Tag()+".tar")
	return ref, file, writeWhole(file, archive)
}

// writeWhole leaves either the whole file or none.
func writeWhole(file string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".archive-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.Write(data); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Chmod(tmp.Name(), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}
