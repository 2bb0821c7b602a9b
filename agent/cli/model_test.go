package cli

import (
	"bytes"
	"encoding/json"
	"image"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"heron/inference"
	"heron/sync/models"
)

// sample is a folder with everything that a published bundle needs, for the scripted engine.
func sample(t *testing.T) field {
	t.Helper()
	f := newField(t, nobody, "testcard:")
	must(t, os.MkdirAll(filepath.Join(f.dir, "bundle/golden"), 0o755))
	m := image.NewGray(image.Rect(0, 0, 64, 48))
	for p := range m.Pix {
		m.Pix[p] = 230
	}
	f.picture(t, "golden.png", m)
	must(t, os.Rename(filepath.Join(f.dir, "pictures/golden.png"), filepath.Join(f.dir, "bundle/golden/0.png")))
	f.write(t, "bundle/baseline.json", `{"n":10,"mean_confidence":0.9,"labels":{"dark":10}}`)
	f.manifest(t, nil)
	return f
}

// manifest writes the sample's, with changes.
func (f field) manifest(t *testing.T, change func(*inference.Manifest)) {
	t.Helper()
	m := &inference.Manifest{V: 1, Name: "grey", Version: "1.0.0", Created: "2026-11-20T10:00:00Z", Dataset: "grey@1", Task: "classification", Labels: "labels.txt", Baseline: "baseline.json",
		Engines: []inference.EngineEntry{{Engine: "edgetpu", File: "answers.json"}, {Engine: "scripted", File: "answers.json"}},
		Input:   inference.Input{Width: 16, Height: 16, Layout: "NHWC", DType: "uint8"}, Output: inference.Output{Kind: "probabilities", DType: "float32"},
		Thresholds: inference.Thresholds{Default: 0.5}, Golden: []inference.Golden{{Input: "golden/0.png", Top1: "bright", Score: 0.92, Tolerance: 0.05}},
		Budget: &inference.Budget{LatencyMS: 1000, RSSMB: 1000}, Targets: []string{"any"}}
	if change != nil {
		change(m)
	}
	b, err := marshalManifest(m)
	must(t, err)
	f.write(t, "bundle/manifest.json", string(b))
}

// leftovers are names in dir that no command should leave.
func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, ".heron-*"))
	must(t, err)
	return names
}

func TestModelPackGivesTheSameBytesAndReadsThemBack(t *testing.T) {
	f := sample(t)
	f.write(t, "bundle/NOTES.md", "left to do")
	f.write(t, "bundle/LICENSE", "free")
	bundle, archive := filepath.Join(f.dir, "bundle"), filepath.Join(f.dir, "grey-1.0.0.tar.zst")
	var first, second packed
	out, msg, code := heron(t, "model", "pack", bundle, "-o", archive, "--json")
	if err := json.Unmarshal([]byte(out), &first); err != nil || code != 0 || !first.Published || first.Files != 6 || len(first.SHA256) != 64 {
		t.Fatalf("exit %d, %v: %s%s", code, err, out, msg)
	}
	must(t, os.Chtimes(filepath.Join(bundle, "labels.txt"), time.Unix(1e9, 0), time.Unix(1e9, 0)))
	out, _, code = heron(t, "model", "pack", bundle, "-o", filepath.Join(f.dir, "again.tar.zst"), "--json")
	if err := json.Unmarshal([]byte(out), &second); err != nil || code != 0 || second.SHA256 != first.SHA256 {
		t.Errorf("exit %d, %v: another digest: %s", code, err, out)
	}
	if out, _, code = heron(t, "model", "pack", bundle, "-o", archive); code != 0 || !strings.Contains(out, "was there already, the same") || !strings.Contains(out, first.SHA256) {
		t.Errorf("exit %d: %s", code, out)
	}
	f.write(t, "bundle/LICENSE", "not free")
	before, err := os.ReadFile(archive)
	must(t, err)
	if _, msg, code = heron(t, "model", "pack", bundle, "-o", archive); code != 1 || !strings.Contains(msg, "raise version") {
		t.Errorf("over another archive: exit %d: %s", code, msg)
	}
	oneLine(t, msg)
	if after, _ := os.ReadFile(archive); !bytes.Equal(before, after) {
		t.Error("the archive was touched")
	}
	if _, msg, code = heron(t, "model", "pack", bundle, "-o", archive, "--force"); code != 0 {
		t.Errorf("--force: exit %d: %s", code, msg)
	}
	if l := leftovers(t, f.dir); len(l) > 0 {
		t.Errorf("left behind: %v", l)
	}
}

func TestModelPackRefuses(t *testing.T) {
	stale := func(m *inference.Manifest) {
		m.Files = []inference.File{{Path: "labels.txt", Size: 19, SHA256: strings.Repeat("0", 64)}, {Path: "answers.json"}, {Path: "baseline.json"}, {Path: "golden/0.png"}}
		for i := range m.Files[1:] {
			m.Files[i+1].SHA256 = strings.Repeat("1", 64)
		}
	}
	for _, c := range []struct {
		name   string
		change func(*inference.Manifest)
		extra  string
		flags  []string
		says   string // empty: it packs
	}{
		{name: "unknown file", extra: "bundle/train.py", says: "does not name train.py"},
		{name: "unknown file left out", extra: "bundle/train.py", flags: []string{"--leave-out"}},
		{name: "stale", change: stale, says: "labels.txt has the digest"},
		{name: "stale, updated", change: stale, flags: []string{"--update"}},
		{name: "missing file", change: func(m *inference.Manifest) { m.Labels = "names.txt" }, flags: []string{"--leave-out"}, says: "names.txt: no such file"},
		{name: "not to be published", change: func(m *inference.Manifest) { m.Golden, m.Budget = nil, nil }, says: "also needs golden, budget.latency_ms, budget.rss_mb"},
		{name: "a name that no repository takes", change: func(m *inference.Manifest) { m.Name = "Bottles" }, says: `no repository takes it: family "Bottles": lower case`},
		{name: "the name of a role", change: func(m *inference.Manifest) { m.Name = "targets" }, says: "the name of a role"},
		{name: "a name for trials", change: func(m *inference.Manifest) { m.Name = "Bottles_2.0" }, flags: []string{"--development"}},
		{name: "for trials", change: func(m *inference.Manifest) { m.Budget = nil }, flags: []string{"--development"}},
		{name: "golden without a label", change: func(m *inference.Manifest) { m.Golden[0].Top1 = "blue" }, says: `golden[0].top1 "blue" is no label`},
		{name: "a name that devices refuse", change: func(m *inference.Manifest) { m.Labels = "a b.txt" }, extra: "bundle/a b.txt", flags: []string{"--leave-out"}, says: `"a b.txt" is not allowed`},
		{name: "bad manifest", change: func(m *inference.Manifest) { m.Input.Layout = "HW" }, says: "input.layout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := sample(t)
			f.manifest(t, c.change)
			if c.extra != "" {
				f.write(t, c.extra, "dark\nmiddle\nbright\n")
			}
			archive := filepath.Join(f.dir, "out.tar.zst")
			_, msg, code := heron(t, append([]string{"model", "pack", filepath.Join(f.dir, "bundle"), "-o", archive}, c.flags...)...)
			if c.says == "" {
				if code != 0 || !exists(archive) {
					t.Errorf("exit %d: %s", code, msg)
				}
			} else if oneLine(t, msg); code != 1 || !strings.Contains(msg, c.says) || exists(archive) {
				t.Errorf("exit %d: %s; want %q", code, msg, c.says)
			}
			if l := leftovers(t, f.dir); len(l) > 0 {
				t.Errorf("left behind: %v", l)
			}
		})
	}
}

func TestModelPackRefusesLinksAndUpdatesTheFolder(t *testing.T) {
	f := sample(t)
	bundle, archive := filepath.Join(f.dir, "bundle"), filepath.Join(f.dir, "out.tar.zst")
	if _, msg, code := heron(t, "model", "pack", bundle, "-o", archive, "--update"); code != 0 {
		t.Fatal(msg)
	}
	b, err := inference.ReadBundle(bundle, nil)
	if err != nil || len(b.Manifest.Files) != 4 || b.Manifest.Files[0].Role != "weights" {
		t.Fatalf("%v: %+v", err, b)
	}
	must(t, os.Remove(filepath.Join(bundle, "baseline.json")))
	must(t, os.Symlink("/etc/hostname", filepath.Join(bundle, "baseline.json")))
	if _, msg, code := heron(t, "model", "pack", bundle, "-o", archive, "--update", "--force"); code != 1 || !strings.Contains(msg, "baseline.json is a link") {
		t.Errorf("exit %d: %s", code, msg)
	}
}

// inspectGolden is the page of the sample, up to the files.
const inspectGolden = `model       grey 1.0.0
created     2026-11-20T10:00:00Z
dataset     grey@1
labels      3 in labels.txt
thresholds  0.5
golden      1 picture of bright
baseline    baseline.json
budget      1000 ms, 1000 MB
targets     any
license     none

ENGINE    FILE          PRECISION  INPUT                         OUTPUT
edgetpu   answers.json             16x16 RGB NHWC uint8 stretch  float32 probabilities
scripted  answers.json             16x16 RGB NHWC uint8 stretch  float32 probabilities
`

func TestModelInspect(t *testing.T) {
	f := sample(t)
	bundle, archive := filepath.Join(f.dir, "bundle"), filepath.Join(f.dir, "a.tar.zst")
	out, msg, code := heron(t, "model", "inspect", bundle)
	if head, _, _ := strings.Cut(out, "\nFILE "); code != 0 || head != inspectGolden || strings.Contains(out, "\x1b") {
		t.Errorf("exit %d: %s\n%s\nwant\n%s", code, msg, out, inspectGolden)
	}
	if _, msg, code := heron(t, "model", "pack", bundle, "-o", archive); code != 0 {
		t.Fatal(msg)
	}
	out, msg, code = heron(t, "model", "inspect", archive, "--json")
	var in inspected
	if err := json.Unmarshal([]byte(out), &in); err != nil || code != 0 || in.Archive == nil || len(in.Archive.SHA256) != 64 || in.Labels.Count != 3 || len(in.Engines) != 2 || len(in.Files) != 5 || in.Files[1].Role != "weights" {
		t.Errorf("exit %d, %v: %s%s", code, err, out, msg)
	}
	f.write(t, "bundle/manifest.json", `{"v":1,"surprise":true}`)
	var packed bytes.Buffer
	must(t, models.Pack(bundle, &packed))
	must(t, os.WriteFile(archive, packed.Bytes(), 0o600))
	if _, msg, code = heron(t, "model", "inspect", archive); code != 1 || !strings.Contains(msg, archive+"/manifest.json: unknown field") {
		t.Errorf("exit %d: %s\nthe folder it was unpacked into is gone; the archive is meant", code, msg)
	}
	if _, msg, code = heron(t, "model", "inspect", filepath.Join(f.dir, "none")); code != 1 {
		t.Errorf("exit %d: %s", code, msg)
	}
	oneLine(t, msg)
}

func TestModelVerify(t *testing.T) {
	t.Parallel()
	notShort(t)
	for _, c := range []struct {
		name   string
		change func(*inference.Manifest)
		script string
		args   []string
		code   int
		says   string // in stdout or stderr
	}{
		{name: "fit", says: "edgetpu           not available here  no stick; plug one in"},
		{name: "one engine", args: []string{"--engine", "scripted"}, says: "scripted          ok"},
		{name: "an engine that is not here", args: []string{"--engine", "edgetpu"}, code: 1, says: "no engine of it is available here"},
		{name: "an engine that it has not", args: []string{"--engine", "tflite"}, code: 1, says: "has no entry for tflite"},
		{name: "golden", change: func(m *inference.Manifest) { m.Golden[0].Top1 = "dark" }, code: 1, says: "golden/0.png"},
		{name: "golden of no label", change: func(m *inference.Manifest) { m.Golden[0].Top1 = "blue" }, code: 1, says: "is no label"},
		{name: "budget", change: func(m *inference.Manifest) { m.Budget.LatencyMS = 5 }, script: `{"answers":[["dark",0.9],["middle",0.95],["bright",0.92]],"latency_ms":60}`, code: 1, says: "its budget is 5 ms"},
		{name: "no numbers", change: func(m *inference.Manifest) { m.Golden = nil }, script: `{"answers":[["dark",0.9]],"nan_every":1}`, code: 1, says: "NaN"},
		{name: "digest", change: func(m *inference.Manifest) {
			m.Files = []inference.File{{Path: "labels.txt", Size: 19, SHA256: strings.Repeat("0", 64)}}
		}, code: 1, says: "labels.txt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := sample(t)
			f.manifest(t, c.change)
			if c.script != "" {
				f.write(t, "bundle/answers.json", c.script)
			}
			list := append([]string{"model", "verify", filepath.Join(f.dir, "bundle"), "--vision", os.Args[0]}, c.args...)
			out, msg, code := heron(t, list...)
			if code != c.code || !strings.Contains(out+msg, c.says) {
				t.Errorf("exit %d: %s%s; want %d and %q", code, out, msg, c.code, c.says)
			}
			out, _, _ = heron(t, append(list, "--json")...)
			var v verifiedBundle
			if err := json.Unmarshal([]byte(out), &v); err != nil || v.OK != (c.code == 0) || len(v.Checks) == 0 {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

func TestModelSchemaIsPrinted(t *testing.T) {
	out, _, code := heron(t, "model", "schema")
	if code != 0 || !json.Valid([]byte(out)) || !strings.Contains(out, "2020-12") {
		t.Errorf("exit %d: %.200s", code, out)
	}
}
