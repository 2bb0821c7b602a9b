package models

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// tarOf makes an archive of headers; a regular file without size gets the content "x".
func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		content := ""
		if h.Typeflag == 0 || h.Typeflag == tar.TypeReg {
			content = strings.Repeat("x", max(1, int(h.Size)))
			h.Size = int64(len(content))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compress(t testing.TB, b []byte) []byte {
	t.Helper()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	return enc.EncodeAll(b, nil)
}

// sparse is a PAX header that makes the file after it 1 GiB of nothing.
func sparse(t testing.TB) []byte {
	records := ""
	for _, kv := range []string{"GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.name=model.onnx", "GNU.sparse.size=1073741824", "GNU.sparse.numblocks=1", "GNU.sparse.map=0,1"} {
		n := len(kv) + 4 // " ", "\n" and two digits
		records += fmt.Sprintf("%d %s\n", n, kv)
	}
	pax := tarOf(t, tar.Header{Name: "pax", Size: int64(len(records))})
	copy(pax[512:], records)
	pax[156] = 'x'
	copy(pax[148:156], "        ")
	sum := 0
	for _, c := range pax[:512] {
		sum += int(c)
	}
	copy(pax[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return append(pax[:1024], tarOf(t, tar.Header{Name: "model.onnx"})...)
}

func TestHostileArchivesAreRefused(t *testing.T) {
	reg := func(name string) tar.Header { return tar.Header{Name: name, Mode: 0o644} }
	manifest := reg(manifestName)
	whole := compress(t, tarOf(t, manifest))
	half := pack(t, bundle(t, bottles()))
	cases := map[string]struct {
		archive []byte
		want    string
	}{
		"absolute path":        {compress(t, tarOf(t, manifest, reg("/etc/passwd"))), `the name "/etc/passwd" is not allowed`},
		"dot dot":              {compress(t, tarOf(t, manifest, reg("../evil"))), `the name "../evil" is not allowed`},
		"dot dot within":       {compress(t, tarOf(t, manifest, reg("a/../../evil"))), "is not allowed"},
		"dot":                  {compress(t, tarOf(t, manifest, reg("./labels.txt"))), "is not allowed"},
		"empty level":          {compress(t, tarOf(t, manifest, reg("a//b"))), "is not allowed"},
		"space":                {compress(t, tarOf(t, manifest, reg("a b"))), "is not allowed"},
		"newline":              {compress(t, tarOf(t, manifest, reg("a\nb"))), "is not allowed"},
		"not ASCII":            {compress(t, tarOf(t, manifest, reg("ä"))), "is not allowed"},
		"backslash":            {compress(t, tarOf(t, manifest, reg(`..\evil`))), "is not allowed"},
		"long name":            {compress(t, tarOf(t, manifest, reg(strings.Repeat("n", 101)))), "has not 1 to 100 characters"},
		"deep":                 {compress(t, tarOf(t, manifest, reg("a/b/c/d/e"))), "more than 4 levels"},
		"symbolic link":        {compress(t, tarOf(t, manifest, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/etc"})), "l is a link"},
		"through a link":       {compress(t, tarOf(t, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/tmp"}, reg("l/x"))), "l is a link"},
		"hard link":            {compress(t, tarOf(t, manifest, tar.Header{Name: "l", Typeflag: tar.TypeLink, Linkname: manifestName})), "l is a link"},
		"device":               {compress(t, tarOf(t, manifest, tar.Header{Name: "d", Typeflag: tar.TypeBlock})), "d is a link, a device"},
		"fifo":                 {compress(t, tarOf(t, manifest, tar.Header{Name: "p", Typeflag: tar.TypeFifo})), "p is a link, a device"},
		"sparse":               {compress(t, sparse(t)), "is a sparse file"},
		"twice":                {compress(t, tarOf(t, manifest, manifest)), "manifest.json is in the archive twice"},
		"file and folder":      {compress(t, tarOf(t, manifest, reg("a"), reg("a/b"))), "file exists"},
		"no manifest":          {compress(t, tarOf(t, reg("bottles/"+manifestName))), "has no manifest.json at its top"},
		"manifest is a folder": {compress(t, tarOf(t, tar.Header{Name: manifestName + "/", Typeflag: tar.TypeDir})), "has no manifest.json at its top"},
		"nothing":              {compress(t, tarOf(t)), "has no manifest.json at its top"},
		"zeros for ever":       {compress(t, make([]byte, 64<<20)), "or to more than 100 times its own size"},
		"a file of zeros":      {compress(t, append(tarOf(t, manifest)[:1024], tarOf(t, tar.Header{Name: "z", Size: 40 << 20})...)), "or to more than 100 times its own size"},
		"something after it":   {compress(t, append(tarOf(t, manifest), "hidden"...)), "something follows the end"},
		"a second frame":       {append(slices.Clone(whole), compress(t, []byte("hidden"))...), "something follows the end"},
		"garbage after it":     {append(slices.Clone(whole), "hidden"...), "the archive is damaged"},
		"cut off":              {half[:len(half)/2], "the archive is damaged"},
		"one bit flipped":      {flip(half, len(half)/2), "the archive is damaged"},
		"empty":                {nil, "neither a folder nor a .tar.zst archive"},
		"a model file":         {[]byte("\x08\x07\x12\x07pytorch"), "name the folder that holds manifest.json"},
		"a plain tar":          {tarOf(t, manifest), "neither a folder nor a .tar.zst archive"},
		"a window of 1 GiB":    {append([]byte(zstdMagic), 0x00, 0xa0, 0x01, 0x00, 0x00), "the archive is damaged"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cache := filepath.Join(t.TempDir(), "cache")
			path := put(t, c.archive)
			dir, err := Open(path, cache)
			if err == nil {
				t.Fatalf("opened at %s", dir)
			}
			if !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "model bundle "+path+": ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v", err)
			}
			if got := contents(t, cache); len(got) != 1 { // the lock
				t.Errorf("left in the cache: %v", slices.Collect(maps.Keys(got)))
			}
		})
	}
}

func flip(b []byte, i int) []byte {
	b = slices.Clone(b)
	b[i] ^= 1
	return b
}

func TestLimitsOfSize(t *testing.T) {
	path := put(t, pack(t, bundle(t, bottles())))
	small := defaultLimits()
	small.total = 100_000
	if _, err := openArchive(path, t.TempDir(), small); err == nil || !strings.Contains(err.Error(), "larger than 0 MiB in all") {
		t.Errorf("got %v", err)
	}
	small = defaultLimits()
	small.files = 4
	if _, err := openArchive(path, t.TempDir(), small); err == nil || !strings.Contains(err.Error(), "more than 4 entries") {
		t.Errorf("got %v", err)
	}
	small = defaultLimits()
	small.archive = 1000
	if _, err := openArchive(path, t.TempDir(), small); err == nil || !strings.Contains(err.Error(), "the archive is larger than") {
		t.Errorf("got %v", err)
	}
}

func TestOtherThingsThanBundles(t *testing.T) {
	cache := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join(cache, "none"): "there is no such folder or file; put the bundle there, or correct the path",
		"/dev/zero":                  "neither a folder nor a regular file",
	} {
		if _, err := Open(path, cache); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestPackRefusesWhatOpenWould(t *testing.T) {
	for name, change := range map[string]func(dir string) error{
		"no manifest": func(d string) error { return os.Remove(filepath.Join(d, manifestName)) },
		"a link":      func(d string) error { return os.Symlink("/etc/passwd", filepath.Join(d, "l")) },
		"an odd name": func(d string) error { return os.WriteFile(filepath.Join(d, "a b"), nil, 0o644) },
		"too deep":    func(d string) error { return os.MkdirAll(filepath.Join(d, "a/b/c/d/e"), 0o755) },
	} {
		dir := bundle(t, bottles())
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		if err := Pack(dir, &bytes.Buffer{}); err == nil || !strings.HasPrefix(err.Error(), "pack") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Pack(filepath.Join(t.TempDir(), "none"), &bytes.Buffer{}); err == nil {
		t.Error("packed a folder that is not there")
	}
}

// FuzzUntar: whatever the bytes, nothing is written outside, and nothing but plain files within the bounds.
// The compression around it is left out: its decoder is fuzzed at home, and its pools make the fuzzer see new paths where there are none.
func FuzzUntar(f *testing.F) {
	f.Add(tarOf(f, tar.Header{Name: manifestName}, tar.Header{Name: "golden/0.png"}))
	f.Add(tarOf(f, tar.Header{Name: manifestName}, tar.Header{Name: "../evil"}, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/"}))
	f.Add(sparse(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		lim := limits{total: 1 << 20, files: 16}
		_ = untar(bytes.NewReader(b), dir, lim) // refused or not: what is on the disk counts
		var total int64
		walk := filepath.WalkDir(outer, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			if !d.Type().IsRegular() || !strings.HasPrefix(p, dir+string(filepath.Separator)) {
				t.Fatalf("%s: %v", p, d.Type())
			}
			info, err := d.Info()
			total += info.Size()
			return err
		})
		if walk != nil || total > lim.total {
			t.Fatalf("%d bytes, %v", total, walk)
		}
	})
}
