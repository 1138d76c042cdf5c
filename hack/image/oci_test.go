package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var sample = []File{{"/bin/b", []byte("second")}, {"/a", []byte("first")}}

func archive(t *testing.T, files []File) (*Image, []byte) {
	t.Helper()
	img, err := Build(files)
	if err != nil {
		t.Fatal(err)
	}
	data, err := img.Archive("localhost/x:" + img.Tag())
	if err != nil {
		t.Fatal(err)
	}
	return img, data
}

func TestSameFilesGiveSameBytes(t *testing.T) {
	_, one := archive(t, sample)
	time.Sleep(1100 * time.Millisecond) // a clock in the archive would have moved by a second
	_, two := archive(t, sample)
	if !bytes.Equal(one, two) {
		t.Fatal("two archives of the same files differ")
	}
}

func TestTagFollowsContent(t *testing.T) {
	one, _ := archive(t, sample)
	two, _ := archive(t, []File{{"/bin/b", []byte("changed")}, {"/a", []byte("first")}})
	if one.Tag() == two.Tag() {
		t.Fatalf("both contents got the tag %s", one.Tag())
	}
}

func TestArchiveIsWhole(t *testing.T) {
	img, data := archive(t, sample)
	blobs := unpack(t, data)

	var index struct{ Manifests []descriptor }
	decode(t, blobs["index.json"], &index)
	entry := index.Manifests[0]
	if got := entry.Annotations["io.containerd.image.name"]; got != "localhost/x:"+img.Tag() {
		t.Errorf("image name %q", got)
	}
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	decode(t, blob(t, blobs, entry), &manifest)
	var config struct {
		Config struct {
			User       string
			Entrypoint []string
		}
	}
	decode(t, blob(t, blobs, manifest.Config), &config)
	if config.Config.User != "65532:65532" || config.Config.Entrypoint[0] != "/bin/b" {
		t.Errorf("config %+v", config.Config)
	}
	files := unpack(t, blob(t, blobs, manifest.Layers[0]))
	if string(files["bin/b"]) != "second" || string(files["a"]) != "first" {
		t.Errorf("files %v", files)
	}
	if _, ok := files["bin/"]; !ok {
		t.Error("the folder of /bin/b has no entry")
	}
}

func TestTooLargeIsRefused(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, make([]byte, 1_100_000), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := run("localhost/big", dir, 1, []string{big + ":/big"})
	if err == nil || !strings.Contains(err.Error(), "the limit is 1 MB") {
		t.Fatalf("got %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tar")); left != nil {
		t.Errorf("refused, and yet wrote %v", left)
	}
}

func blob(t *testing.T, blobs map[string][]byte, d descriptor) []byte {
	t.Helper()
	data, ok := blobs["blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:")]
	if !ok || len(data) != d.Size || digest(data) != d.Digest {
		t.Fatalf("blob %s is missing or wrong", d.Digest)
	}
	return data
}

func decode(t *testing.T, data []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

func unpack(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.Unix() != 0 || h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s: time %v, owner %d:%d", h.Name, h.ModTime, h.Uid, h.Gid)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}
