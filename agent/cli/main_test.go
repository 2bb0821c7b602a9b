package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"heron/agent/status"
	"heron/camera"
	"heron/camera/replay"
	"heron/inference"
	"heron/inference/scripted"
	"heron/internal/freeport"
	"heron/vision"
)

// The test binary is also both programs: heron where HERON_TEST_ROLE says so, and heron-vision where it inherits a connection.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv("LISTEN_FDS") != "":
		serveVision()
	case os.Getenv("HERON_TEST_ROLE") == "heron":
		a := &app{in: os.Stdin, out: os.Stdout, errOut: os.Stderr, keyCost: 10} // the cost of a passphrase is package repo's affair, and 0.2 s a key
		os.Exit(a.main(os.Args[1:]))
	}
	flag.Parse()
	if !testing.Short() && os.Getenv("HERON_SLOW") == "" { // most of the others wait, not work
		if err := flag.Set("test.parallel", "4"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func serveVision() {
	conn, err := net.FileConn(os.NewFile(3, "heron"))
	if err == nil {
		err = vision.Serve(context.Background(), conn, vision.Drivers{
			Version: "test", CameraNames: []string{"replay"}, Camera: replay.New(nil),
			Engines: map[string]inference.Opener{"scripted": openScripted},
			Report: func() []vision.EngineReport {
				return []vision.EngineReport{{Engine: "scripted", Present: true, Usable: true}}
			},
			Look: func() []vision.EngineReport {
				return []vision.EngineReport{{Engine: "scripted", Present: true, Usable: true}, {Engine: "edgetpu", Reason: "no stick", NextStep: "plug one in"}}
			},
			Picture: replay.Files{}.Read, Encode: camera.EncodeJPEG, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// openScripted is the scripted engine, except that an answer "abort" takes the process down, as a native runtime can.
func openScripted(ctx context.Context, m inference.Model) (inference.Engine, error) {
	e, err := scripted.Open(ctx, m)
	if i := slices.Index(m.Spec.Labels, "abort"); err == nil && i >= 0 {
		return &aborting{e, i}, nil
	}
	return e, err
}

type aborting struct {
	inference.Engine
	label int
}

func (a *aborting) Run(ctx context.Context) error {
	err := a.Engine.Run(ctx)
	if out := a.Output().F32; err == nil && a.label < len(out) && out[a.label] > 0.5 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGABRT)
		select {} // until the signal is here
	}
	return err
}

// command is a heron that has not started; where stdout and stderr go is up to the caller.
func command(args ...string) *exec.Cmd {
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), "HERON_TEST_ROLE=heron")
	return c
}

// heron runs one command to its end.
func heron(t *testing.T, args ...string) (out, errOut string, code int) {
	t.Helper()
	c := command(args...)
	var o, e bytes.Buffer
	c.Stdout, c.Stderr = &o, &e
	timer := time.AfterFunc(60*time.Second, func() { _ = c.Process.Kill() })
	defer timer.Stop()
	if err := c.Run(); err != nil && c.ProcessState == nil {
		t.Fatal(err)
	}
	return o.String(), e.String(), c.ProcessState.ExitCode()
}

// field is a device in a folder of its own: pictures, a scripted model, a configuration.
type field struct {
	dir, conf, page string
	env             []string // of its service, beside this process's own
}

func newField(t *testing.T, broker, source string) field {
	t.Helper()
	f := field{dir: t.TempDir(), page: freeport.Address(t)}
	f.conf = filepath.Join(f.dir, "heron.yaml")
	for i, grey := range []uint8{20, 120, 220} {
		m := image.NewGray(image.Rect(0, 0, 64, 48))
		for p := range m.Pix { // stripes: a plain area would be taken for a covered lens
			m.Pix[p] = grey + uint8(p%64/8%2)*30
		}
		f.picture(t, fmt.Sprintf("%d.png", i), m)
	}
	f.write(t, "bundle/labels.txt", "dark\nmiddle\nbright\n")
	f.write(t, "bundle/answers.json", `{"answers":[["dark",0.9],["middle",0.95],["bright",0.92]]}`)
	f.write(t, "bundle/manifest.json", `{"v":1,"name":"grey","version":"1.0.0","engines":[{"engine":"scripted","file":"answers.json"}],"labels":"labels.txt",
		"input":{"width":16,"height":16,"layout":"NHWC","dtype":"uint8"},"output":{"kind":"probabilities","dtype":"float32"}}`)
	f.write(t, "heron.yaml", fmt.Sprintf(`
device: {group: test, id: dev-1}
cameras: [{name: front, source: "%s", fps: 20}]
models: [{bundle: bundle}]
outbox: {path: state/outbox.db, max_size: 16MiB}
uplink: {broker: "%s"}
vision: {command: "%s"}
status: {listen: "%s"}
`, source, broker, os.Args[0], f.page))
	return f
}

func (f field) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f field) picture(t *testing.T, name string, m image.Image) {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	f.write(t, "pictures/"+name, b.String())
}

// covered is a picture with nothing in it, as of a lens under a hand.
func covered() image.Image {
	m := image.NewRGBA(image.Rect(0, 0, 64, 48))
	draw.Draw(m, m.Bounds(), image.NewUniform(color.Gray{Y: 90}), image.Point{}, draw.Src)
	return m
}

// service is a running heron.
type service struct {
	*exec.Cmd
	log *lockedBuffer
}

func (f field) start(t *testing.T, args ...string) *service {
	t.Helper()
	s := &service{Cmd: command(append([]string{"run", "--config", f.conf}, args...)...), log: &lockedBuffer{}}
	s.Env = append(s.Env, f.env...)
	s.Stdout, s.Stderr = s.log, s.log
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.Process.Kill()
		_ = s.Wait()
		if t.Failed() {
			t.Logf("heron said:\n%s", s.log)
		}
	})
	return s
}

// end signals the service and returns its exit code.
func (s *service) end(t *testing.T, sig syscall.Signal) int {
	t.Helper()
	if err := s.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(30*time.Second, func() { _ = s.Process.Kill() })
	defer timer.Stop()
	_ = s.Wait()
	return s.ProcessState.ExitCode()
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// snapshot asks the page; nil while it does not answer.
func (f field) snapshot() *status.Snapshot {
	c := http.Client{Timeout: 5 * time.Second}
	r, err := c.Get("http://" + f.page + "/api/v1/status")
	if err != nil {
		return nil
	}
	defer r.Body.Close()
	var s status.Snapshot
	if json.NewDecoder(r.Body).Decode(&s) != nil {
		return nil
	}
	return &s
}

// until waits for a state of the page.
func (f field) until(t *testing.T, what string, ok func(*status.Snapshot) bool) *status.Snapshot {
	t.Helper()
	begun := time.Now()
	var s *status.Snapshot
	for time.Since(begun) < 40*time.Second {
		if s = f.snapshot(); s != nil && ok(s) {
			if took := time.Since(begun); took > 5*time.Second {
				t.Logf("%s: after %v", what, took.Round(time.Second/10))
			}
			return s
		}
		time.Sleep(50 * time.Millisecond)
	}
	j, _ := json.Marshal(s)
	t.Fatalf("%s: not within 40 s; the page says %s", what, j)
	return nil
}

func classifying(s *status.Snapshot) bool {
	return len(s.Cameras) == 1 && s.Cameras[0].Inferred > 5 && s.Cameras[0].Last != nil && len(s.Cameras[0].Last.Top) > 0
}

func oneLine(t *testing.T, text string) {
	t.Helper()
	if n := strings.Count(strings.TrimSpace(text), "\n"); n > 0 || strings.TrimSpace(text) == "" || strings.Contains(text, "goroutine ") {
		t.Errorf("want one line, got %q", text)
	}
}

func notShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("many processes or keys, and a minute under the race detector: not with -short")
	}
}

// slow skips a test that waits for what takes its time, where nobody has asked for it: go test ./... stays under three minutes.
func slow(t *testing.T) {
	t.Helper()
	if testing.Short() || os.Getenv("HERON_SLOW") == "" {
		t.Skip("takes up to a minute; HERON_SLOW=1 runs it, and make test does")
	}
}
