package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"image"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"heron/sync/desired"
	"heron/sync/fleet"
	"heron/sync/message"
)

// herd is a broker, a signed repository, and devices with real services in groups of two, of which a first wave of half draws the first one.
type herd struct {
	dir, broker, url string
	uploads          chan []byte
	drip             time.Duration // for each 16 KiB of a target
}

// bracket is one of 16 ranges of brightness; live are those of the camera's pictures, golden those of the bundle's.
var ( // read only
	live   = []int{2, 8, 14}
	golden = []int{3, 6, 12}
)

// saltOf is a salt by which the first of a group's two devices is drawn before the second.
func saltOf(group string) string {
	for i := 0; ; i++ {
		if salt := fmt.Sprint("s", i); desired.Selected(50, salt, group+"-1") && !desired.Selected(50, salt, group+"-2") {
			return salt
		}
	}
}

func newHerd(t *testing.T) *herd {
	t.Helper()
	b, _ := newCloud(t)
	h := &herd{dir: t.TempDir(), broker: strings.Replace(b.URL(), "tcp:", "mqtt:", 1), uploads: make(chan []byte, 4)}
	if err := os.WriteFile(h.file("phrase"), []byte("a test's passphrase\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.repo(t, "init")
	s := httptest.NewServer(h.web())
	t.Cleanup(s.Close)
	h.url = s.URL
	return h
}

func (h *herd) file(name string) string { return filepath.Join(h.dir, name) }

// web is the repository's web server, and a place for uploads.
func (h *herd) web() http.Handler {
	files := http.FileServer(http.Dir(h.file("repo/public")))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut:
			b, err := io.ReadAll(r.Body)
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			h.uploads <- b
			w.WriteHeader(http.StatusCreated)
		case h.drip > 0 && strings.HasPrefix(r.URL.Path, "/targets/"):
			files.ServeHTTP(&dripping{w, h.drip}, r)
		default:
			files.ServeHTTP(w, r)
		}
	})
}

// dripping is a link on which every 16 KiB take their time.
type dripping struct {
	http.ResponseWriter
	each time.Duration
}

func (d *dripping) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		part := b[:min(len(b), 16<<10)]
		k := 0
		k, err = d.ResponseWriter.Write(part)
		n, b = n+k, b[k:]
		_ = http.NewResponseController(d.ResponseWriter).Flush()
		time.Sleep(d.each)
	}
	return n, err
}

func (h *herd) repo(t *testing.T, args ...string) {
	t.Helper()
	if out, errOut, code := heron(t, append([]string{"fleet", "repo", "--repo", h.file("repo"), "--passphrase-file", h.file("phrase")}, args...)...); code != 0 {
		t.Fatalf("repo %v: %d %s%s", args, code, out, errOut)
	}
}

// model is a scripted bundle as a test describes it. The zero value is a good one.
type model struct {
	answers  map[int]string  // by bracket, instead of the right ones
	score    map[int]float64 // by bracket, instead of 0.9
	labels   string          // instead of dark, middle, bright, abort
	more     string          // of the script: "latency_ms":5
	budgetMS float64
	padding  int // bytes of noise
}

var rightLabels = []string{"dark", "middle", "bright", "abort"} // read only; who answers "abort" takes the process down

func right(bracket int) string {
	switch {
	case bracket < 5:
		return "dark"
	case bracket < 10:
		return "middle"
	}
	return "bright"
}

// script is the bundle's answers.json.
func (m model) script() string {
	rows := make([]string, 16)
	for i := range rows {
		answer, score := right(i), 0.9
		if a, ok := m.answers[i]; ok {
			answer = a
		}
		if s, ok := m.score[i]; ok {
			score = s
		}
		rows[i] = fmt.Sprintf("[%q,%g]", answer, score)
	}
	text := `{"answers":[` + strings.Join(rows, ",") + `]`
	if m.more != "" {
		text += "," + m.more
	}
	return text + "}"
}

// pack makes bottles-VERSION.tar.zst of m.
func (h *herd) pack(t *testing.T, version string, m model) string {
	t.Helper()
	dir, f := h.file("bottles-"+version), field{dir: h.file("bottles-" + version)}
	labels := strings.Join(rightLabels, "\n") + "\n"
	if m.labels != "" {
		labels = m.labels
	}
	f.write(t, "labels.txt", labels)
	f.write(t, "answers.json", m.script())
	f.write(t, "baseline.json", `{"v":1,"n":300,"mean_confidence":0.9,"labels":{"dark":100,"middle":100,"bright":100}}`)
	var list []string
	for i, bracket := range golden {
		name := fmt.Sprintf("golden/%d.png", i)
		f.picture(t, "x.png", striped(bracket))
		if err := os.MkdirAll(filepath.Join(dir, "golden"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "pictures/x.png"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprintf(`{"input":%q,"top1":%q,"score":0.9,"tolerance":0.05}`, name, right(bracket)))
	}
	_ = os.Remove(filepath.Join(dir, "pictures"))
	if m.padding > 0 {
		f.write(t, "README", noise(m.padding))
	}
	budget := ""
	if m.budgetMS > 0 {
		budget = fmt.Sprintf(`"budget":{"latency_ms":%g},`, m.budgetMS)
	}
	f.write(t, "manifest.json", fmt.Sprintf(`{"v":1,"name":"bottles","version":%q,"created":"2026-11-20T10:00:00Z","dataset":"d@1","task":"classification",
		"engines":[{"engine":"scripted","file":"answers.json"}],"labels":"labels.txt","input":{"width":16,"height":16,"layout":"NHWC","dtype":"uint8"},
		"output":{"kind":"probabilities","dtype":"float32"},"thresholds":{"default":0.5},"golden":[%s],"baseline":"baseline.json",%s"targets":["any"]}`, version, strings.Join(list, ","), budget))
	path := dir + ".tar.zst"
	if out, errOut, code := heron(t, "model", "pack", dir, "--development", "-o", path); code != 0 {
		t.Fatalf("pack %s: %d %s%s", version, code, out, errOut)
	}
	return path
}

// publish packs and signs m as bottles/VERSION, and returns the archive's digest.
func (h *herd) publish(t *testing.T, version string, m model) string {
	t.Helper()
	path := h.pack(t, version, m)
	h.repo(t, "add", path)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// noise does not compress.
func noise(n int) string {
	var b strings.Builder
	for sum := sha256.Sum256([]byte("noise")); b.Len() < n; sum = sha256.Sum256(sum[:]) {
		b.WriteString(hex.EncodeToString(sum[:]))
	}
	return b.String()
}

// striped is a picture in the middle of a bracket of brightness; a plain one would be taken for a covered lens.
func striped(bracket int) image.Image {
	m := image.NewGray(image.Rect(0, 0, 64, 48))
	for p := range m.Pix {
		m.Pix[p] = uint8(bracket*16-6) + uint8(p%64/8%2)*28
	}
	return m
}

// device is a service that runs bottles 1.0.0 from its configuration.
func (h *herd) device(t *testing.T, group, id string) field {
	t.Helper()
	f := newField(t, h.broker, "pictures:pictures?loop=true")
	for i, bracket := range live {
		f.picture(t, fmt.Sprintf("%d.png", i), striped(bracket))
	}
	f.write(t, "heron.yaml", fmt.Sprintf(`
device: {group: %s, id: %s}
cameras: [{name: front, source: "pictures:pictures?loop=true", fps: 60}]
models: [{bundle: %q, engine: [scripted]}]
outbox: {path: state/outbox.db, max_size: 16MiB}
uplink: {broker: %q}
repository: {url: %q, root: %q, shadow: 2s, probation: 5s}
vision: {command: %q, load: 3s, inference: 1s}
status: {listen: %q}
`, group, id, h.file("bottles-1.0.0.tar.zst"), h.broker, h.url, h.file("repo/public/metadata/1.root.json"), os.Args[0], f.page))
	return f
}

// fleet runs a command of heron fleet.
func (h *herd) fleet(t *testing.T, group string, args ...string) (out, errOut string, code int) {
	t.Helper()
	return heron(t, append(append([]string{"fleet"}, args...), "--broker", h.broker, "--group", group, "--by", "anna")...)
}

// slot is what a device reports of its model.
func (h *herd) slot(t *testing.T, group, id string) message.ReportedSlot {
	t.Helper()
	out, errOut, code := h.fleet(t, group, "show", id, "--json")
	var d fleet.Device
	if err := json.Unmarshal([]byte(out), &d); code != 0 || err != nil || d.Slot("main") == nil {
		t.Fatalf("show %s: %d %v %s%s", id, code, err, out, errOut)
	}
	return *d.Slot("main")
}

func versionOf(m *message.ReportedModel) string {
	if m == nil {
		return "none"
	}
	return m.Version
}
