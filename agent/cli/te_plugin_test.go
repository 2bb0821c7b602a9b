package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"heron/agent/status"
)

// edge is a device with thin-edge.io's folder of plugins, in which a link leads to heron, and a service that answers (or does not).
type edge struct {
	field
	link    string
	version atomic.Pointer[string] // of the model that runs
}

func newEdge(t *testing.T, running bool) *edge {
	t.Helper()
	e := &edge{field: newField(t, "", "testcard:")}
	e.set("1.0.0")
	folder := filepath.Join(e.dir, pluginFolder)
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	e.link = filepath.Join(folder, "heron")
	if err := os.Symlink(self, e.link); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"new": `{"v":1,"name":"grey","version":"1.1.0"}`, "other": `{"v":1,"name":"bottles","version":"1.1.0"}`, "nameless": `{}`, "broken": `{`} {
		e.write(t, name+"/manifest.json", text)
	}
	if running {
		l, err := net.Listen("tcp", e.page)
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_ = json.NewEncoder(w).Encode(status.Snapshot{Models: []status.Model{{Slot: "main", Name: "grey", Version: *e.version.Load(), State: "live"}}})
		})}
		go func() { _ = s.Serve(l) }()
		t.Cleanup(func() { _ = s.Close() })
	}
	return e
}

func (e *edge) set(version string) { e.version.Store(&version) }

// call runs the link as tedge-agent does: a child process, no input, both outputs caught.
func (e *edge) call(t *testing.T, args ...string) (out, errOut string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, e.link, args...)
	c.Env = append(os.Environ(), "HERON_TEST_ROLE=heron")
	var o, x bytes.Buffer
	c.Stdout, c.Stderr = &o, &x
	if err := c.Run(); err != nil && c.ProcessState == nil {
		t.Fatal(err)
	}
	return o.String(), x.String(), c.ProcessState.ExitCode()
}

// Through the link there is no place for --config: what is tried here needs none, or fails for want of /etc/heron/heron.yaml.
func TestPluginThroughTheLink(t *testing.T) {
	e := newEdge(t, false)
	if out, errOut, code := e.call(t, "list"); code != 0 || !strings.HasPrefix(out, "heron\t"+Version()+"\n") {
		t.Errorf("list: %d %q %q", code, out, errOut)
	}
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"prepare"}, 0}, {[]string{"finalize"}, 0},
		{nil, 1}, {[]string{"list", "x"}, 1}, {[]string{"update-list"}, 1}, {[]string{"install"}, 1}, {[]string{"install", "a", "--force"}, 1}, {[]string{"upgrade"}, 1}, {[]string{"--help"}, 1},
	} {
		out, errOut, code := e.call(t, c.args...)
		if code != c.code || out != "" {
			t.Errorf("%q: exit %d, want %d; %q", c.args, code, c.code, out)
		}
		if code != 0 {
			oneLine(t, errOut)
		}
	}
}

// A script in the folder of plugins can name the configuration: exec heron --config FILE te-plugin "$@".
func TestPluginWithAConfiguration(t *testing.T) {
	e := newEdge(t, true)
	run := func(args ...string) (string, string, int) {
		return heron(t, append([]string{"--config", e.conf, "te-plugin"}, args...)...)
	}
	if out, errOut, code := run("list"); code != 0 || out != "heron\t"+Version()+"\ngrey\t1.0.0\n" {
		t.Errorf("list: %d %q %q", code, out, errOut)
	}
	at := func(name string) string { return filepath.Join(e.dir, name) }
	for _, c := range []struct {
		args  []string
		code  int
		words string
	}{
		{[]string{"install", "grey"}, 2, "no file"},
		{[]string{"install", "grey", "--file", at("none")}, 2, "no such folder or file"},
		{[]string{"install", "grey", "--file", at("other")}, 2, `holds the model "bottles"; call the module bottles`},
		{[]string{"install", "grey", "--file", at("nameless")}, 2, "no name or no version"},
		{[]string{"install", "grey", "--file", at("broken")}, 2, "manifest.json"},
		{[]string{"install", "grey", "--file", at("new"), "--module-version", "2.0.0"}, 2, "holds version 1.1.0, not 2.0.0"},
		{[]string{"install", "heron", "--file", at("new")}, 2, "package"},
		{[]string{"remove", "heron"}, 2, "package"},
		{[]string{"remove", "grey"}, 2, "is the model of slot main"},
		{[]string{"remove", "grey", "--module-version", "1.0.0"}, 2, "is the model of slot main"},
		{[]string{"remove", "grey", "--module-version", "0.9.0"}, 0, ""},
		{[]string{"remove", "unknown"}, 0, ""},
	} {
		out, errOut, code := run(c.args...)
		if code != c.code || out != "" || !strings.Contains(errOut, c.words) {
			t.Errorf("%q: exit %d, want %d; %q %q", c.args, code, c.code, out, errOut)
		}
		if code != 0 {
			oneLine(t, errOut)
		}
	}
}

func TestPluginWithoutTheService(t *testing.T) {
	e := newEdge(t, false)
	if out, errOut, code := heron(t, "--config", e.conf, "te-plugin", "list"); code != 0 || out != "heron\t"+Version()+"\ngrey\t1.0.0\n" {
		t.Errorf("list must not fail: %d %q %q", code, out, errOut)
	}
	_, errOut, code := heron(t, "--config", e.conf, "te-plugin", "install", "grey", "--file", filepath.Join(e.dir, "new"))
	if code != 3 || !strings.Contains(errOut, "does not answer") {
		t.Errorf("install: exit %d, want 3; %q", code, errOut)
	}
}

// install ends when the service runs the model, and so when list says what was asked for; or as something to try again.
func TestPluginWaitsUntilTheModelRuns(t *testing.T) {
	e := newEdge(t, true)
	var out, errOut bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &out, errOut: &errOut, configPath: e.conf}
	p := a.newPlugin()
	p.look = time.Millisecond
	var asked string
	p.activate = func(_ context.Context, file, slot string) error {
		asked = slot + " " + filepath.Base(file)
		time.AfterFunc(20*time.Millisecond, func() { e.set("1.1.0") })
		return nil
	}
	args := []string{"install", "grey", "--module-version", "1.1.0", "--file", filepath.Join(e.dir, "new")}
	if err := p.run(t.Context(), args); err != nil || asked != "main new" {
		t.Fatalf("asked for %q; %v", asked, err)
	}
	if err := p.run(t.Context(), []string{"list"}); err != nil || !strings.HasSuffix(out.String(), "\ngrey\t1.1.0\n") {
		t.Errorf("afterwards: %v %q", err, out.String())
	}
	e.set("1.0.0")
	p.activate = func(context.Context, string, string) error { return nil } // taken, and taken back
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var coded *codedError
	if err := p.run(ctx, args); !errors.As(err, &coded) || coded.code != 3 || !strings.Contains(err.Error(), "slot main runs grey 1.0.0") {
		t.Errorf("a model that never runs: %v", err)
	}
	p.activate = func(context.Context, string, string) error { return pluginError(2, "refused") }
	if err := p.run(t.Context(), args); !errors.As(err, &coded) || coded.code != 2 {
		t.Errorf("a model that is refused: %v", err)
	}
}
