package inference

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// bundleDir writes a bundle's folder: change edits the manifest, files are added to or replace the two that belong there.
func bundleDir(t *testing.T, change func(m map[string]any), files map[string]string) string {
	t.Helper()
	m := map[string]any{"v": 1, "name": "x", "version": "1", "labels": "labels.txt",
		"engines": []any{map[string]any{"engine": "a", "file": "m.a"}, map[string]any{"engine": "b", "file": "sub/m.b", "output": map[string]any{"kind": "logits"}}, map[string]any{"engine": "a", "file": "m2.a"}},
		"input":   map[string]any{"width": 2, "height": 2, "layout": "NHWC", "dtype": "uint8"}, "output": map[string]any{"kind": "probabilities"}}
	if change != nil {
		change(m)
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"manifest.json": string(text), "labels.txt": "ok\nempty\n", "m.a": "weights", "sub/m.b": "b", "m2.a": "2"}
	for name, content := range files {
		all[name] = content
	}
	dir := t.TempDir()
	for name, content := range all {
		if content == "" && name != "m.a" {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func listed(m map[string]any) {
	m["files"] = []any{
		map[string]any{"path": "labels.txt", "size": 9, "sha256": digest("ok\nempty\n")},
		map[string]any{"path": "m.a", "size": 7, "sha256": digest("weights")},
	}
}

func TestBundlePicksEngines(t *testing.T) {
	dir := bundleDir(t, nil, nil)
	for _, c := range []struct{ want, files, missing string }{
		{"", "m.a sub/m.b m2.a", ""},
		{"auto", "m.a sub/m.b m2.a", ""},
		{"b", "sub/m.b", ""},
		{"b a", "sub/m.b m.a m2.a", ""},
		{"c b", "sub/m.b", "c"},
		{"edgetpu:usb:2-1 b", "sub/m.b", "edgetpu:usb:2-1"},
	} {
		b, err := ReadBundle(dir, strings.Fields(c.want))
		if err != nil {
			t.Fatal(err)
		}
		var files []string
		for _, x := range b.Candidates {
			files = append(files, x.File)
		}
		if got := strings.Join(files, " "); got != c.files || strings.Join(b.Missing, " ") != c.missing {
			t.Errorf("%q: %s, missing %v", c.want, got, b.Missing)
		}
	}
	b, err := ReadBundle(dir, []string{"b"})
	if err != nil {
		t.Fatal(err)
	}
	m, err := b.Load(b.Candidates[0])
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Bytes) != "b" || m.Spec.Output.Kind != "logits" || m.Spec.Input.Width != 2 || m.Spec.ID() != "x@1#"+digest("b")[:6] || m.Spec.Engine != "b" {
		t.Errorf("loaded %+v %+v", m, m.Spec)
	}
}

func TestBundleChecksDigests(t *testing.T) {
	b, err := ReadBundle(bundleDir(t, listed, nil), []string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Load(b.Candidates[0]); err != nil {
		t.Error(err)
	}
	if _, err := b.Load(b.Candidates[1]); err == nil || !strings.Contains(err.Error(), "files does not name m2.a") {
		t.Errorf("a file that is not listed: %v", err)
	}
}

// TestBundleRefusals: every way in which a folder is no bundle, with its code and words.
func TestBundleRefusals(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(map[string]any)
		files  map[string]string
		code   string
		want   string
	}{
		{"no labels", nil, map[string]string{"labels.txt": ""}, CodeBundle, "has no labels.txt"},
		{"empty labels", nil, map[string]string{"labels.txt": "\n"}, CodeLabels, "holds no labels"},
		{"hole in labels", nil, map[string]string{"labels.txt": "a\n\nb\n"}, CodeLabels, "line 2 is empty"},
		{"binary labels", nil, map[string]string{"labels.txt": "a\xff\xfe\n"}, CodeLabels, "not UTF-8"},
		{"control characters", nil, map[string]string{"labels.txt": "a\nb\x1b[0m\n"}, CodeLabels, "line 2 holds a control character"},
		{"no manifest", nil, map[string]string{"manifest.json": ""}, CodeBundle, "has no manifest.json"},
		{"bad manifest", nil, map[string]string{"manifest.json": "{"}, CodeManifest, "manifest.json: ends before"},
		{"threshold of nobody", func(m map[string]any) {
			m["thresholds"] = map[string]any{"default": 0, "per_label": map[string]any{"emty": 1}}
		}, nil, CodeManifest, `"emty"`},
		{"labels changed", listed, map[string]string{"labels.txt": "ok\nempti\n"}, CodeDigest, "labels.txt has the digest"},
		{"labels longer", listed, map[string]string{"labels.txt": "ok\nempty\nmore\n"}, CodeDigest, "labels.txt has 14 bytes; the manifest says 9"},
		{"weights changed", listed, map[string]string{"m.a": "WEIGHTS"}, CodeDigest, "m.a has the digest"},
		{"no weights", func(m map[string]any) { m["engines"] = []any{map[string]any{"engine": "a", "file": "gone.onnx"}} }, nil, CodeBundle, "has no gone.onnx"},
		{"weights are a folder", func(m map[string]any) { m["engines"] = []any{map[string]any{"engine": "a", "file": "sub"}} }, nil, CodeBundle, "not a plain file"},
		{"no such engine", func(m map[string]any) { m["engines"] = []any{map[string]any{"engine": "z", "file": "m.a"}} }, nil, CodeEngine, "has no entry for a; it has one for z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := ReadBundle(bundleDir(t, c.change, c.files), engineOf(c.code))
			if err == nil {
				_, err = b.Load(b.Candidates[0])
			}
			r := wantRefusal(t, err, c.code)
			if r != nil && (!strings.Contains(r.What, c.want) || r.NextStep == "") {
				t.Errorf("says %q, next %q; want %q", r.What, r.NextStep, c.want)
			}
		})
	}
	_, err := ReadBundle("/no/such/folder", nil)
	wantRefusal(t, err, CodeBundle)
	if err == nil || !strings.Contains(err.Error(), `no such model folder: "/no/such/folder"`) {
		t.Error(err)
	}
}

func engineOf(code string) []string {
	if code == CodeEngine {
		return []string{"a"}
	}
	return nil
}

func wantRefusal(t *testing.T, err error, code string) *Refusal {
	t.Helper()
	r := (*Refusal)(nil)
	if !errors.As(err, &r) || r.Code != code || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q; want a refusal %q in one line", err, code)
		return nil
	}
	return r
}

func TestBundleLinksDoNotLeaveIt(t *testing.T) {
	dir := bundleDir(t, nil, nil)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(filepath.Join(dir, "m.a")), os.Symlink(secret, filepath.Join(dir, "m.a"))); err != nil {
		t.Fatal(err)
	}
	b, err := ReadBundle(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Load(b.Candidates[0])
	wantRefusal(t, err, CodeBundle)
	if !strings.Contains(err.Error(), "m.a is a link") {
		t.Errorf("it does not say that it is a link: %v", err)
	}
}

func TestLabels(t *testing.T) {
	for in, want := range map[string]string{
		"a\nb": "a|b", "a\nb\n": "a|b", "a\r\nb\r\n": "a|b", "\ufeffa\n b \n": "a|b", "a\na\n": "a|a", "tabby, tabby cat\n": "tabby, tabby cat", "日本\n": "日本",
	} {
		got, err := parseLabels([]byte(in))
		if err != nil || strings.Join(got, "|") != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

// TestLoadPair: an OpenVINO .xml brings its .bin along, checked like it.
func TestLoadPair(t *testing.T) {
	pair := func(more ...any) func(map[string]any) {
		return func(m map[string]any) {
			m["engines"] = []any{map[string]any{"engine": "a", "file": "sub/m.xml"}}
			if more != nil {
				m["files"] = append([]any{map[string]any{"path": "labels.txt", "size": 9, "sha256": digest("ok\nempty\n")}, map[string]any{"path": "sub/m.xml", "size": 3, "sha256": digest("net")}}, more...)
			}
		}
	}
	bin := map[string]any{"path": "sub/m.bin", "size": 7, "sha256": digest("weights")}
	for name, c := range map[string]struct {
		manifest func(map[string]any)
		bin      string
		code     string
	}{
		"both":            {pair(), "weights", ""},
		"both listed":     {pair(bin), "weights", ""},
		"no bin":          {pair(), "", ""},
		"bin listed only": {pair(bin), "", CodeBundle},
		"another bin":     {pair(bin), "Weights", CodeDigest},
		"a longer bin":    {pair(bin), "weights!", CodeDigest},
		"a stranger":      {pair(map[string]any{"path": "other", "size": 1, "sha256": digest("x")}), "weights", CodeDigest},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := ReadBundle(bundleDir(t, c.manifest, map[string]string{"sub/m.xml": "net", "sub/m.bin": c.bin}), nil)
			if err != nil {
				t.Fatal(err)
			}
			m, err := b.Load(b.Candidates[0])
			if r := (*Refusal)(nil); c.code != "" {
				if !errors.As(err, &r) || r.Code != c.code {
					t.Errorf("%v; want %q", err, c.code)
				}
				return
			}
			if err != nil || string(m.Bytes) != "net" || string(m.Weights) != c.bin || m.Spec.Digest != digest("net"+c.bin) {
				t.Errorf("%q %q %s, %v", m.Bytes, m.Weights, m.Spec.Digest, err)
			}
		})
	}
}
