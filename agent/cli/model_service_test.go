package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"heron/agent"
	"heron/agent/status"
)

// newWorkshop is a device that takes models from files, and archives beside it: 2.0.0 is good, 3.0.0 cannot answer, text is no archive.
func newWorkshop(t *testing.T, repository string) field {
	t.Helper()
	f := newField(t, nobody, "pictures:pictures?loop=true")
	b, err := os.ReadFile(f.conf)
	if err != nil {
		t.Fatal(err)
	}
	f.write(t, "heron.yaml", string(b)+repository)
	for version, answers := range map[string]string{"2.0.0": `{"answers":[["dark",0.8],["middle",0.85],["bright",0.82]]}`, "3.0.0": `{]`} {
		f.write(t, "v"+version+"/labels.txt", "dark\nmiddle\nbright\n")
		f.write(t, "v"+version+"/answers.json", answers)
		f.write(t, "v"+version+"/manifest.json", `{"v":1,"name":"grey","version":"`+version+`","created":"2026-11-01T00:00:00Z","dataset":"none","task":"classification","engines":[{"engine":"scripted","file":"answers.json"}],"labels":"labels.txt",
		"input":{"width":16,"height":16,"layout":"NHWC","dtype":"uint8"},"output":{"kind":"probabilities","dtype":"float32"}}`)
		if out, errOut, code := heron(t, "model", "pack", "--development", filepath.Join(f.dir, "v"+version), "-o", f.at(version)); code != 0 {
			t.Fatalf("pack: %d %s %s", code, out, errOut)
		}
	}
	f.write(t, "text.tar.zst", "no archive")
	return f
}

func (f field) at(version string) string { return filepath.Join(f.dir, "grey-"+version+".tar.zst") }

func (f field) model(t *testing.T, args ...string) (string, string, int) {
	t.Helper()
	return heron(t, append([]string{"model", "--config", f.conf}, args...)...)
}

func runs(version string) func(*status.Snapshot) bool {
	return func(s *status.Snapshot) bool {
		return classifying(s) && len(s.Models) == 1 && s.Models[0].State == "live" && s.Models[0].Version == version
	}
}

func TestModelFromAFile(t *testing.T) {
	t.Parallel()
	f := newWorkshop(t, "repository: {unsigned: true}\n")
	if _, errOut, code := f.model(t, "list"); code != exitUnreachable || !strings.Contains(errOut, "is the service running") {
		t.Errorf("nobody there: %d %s", code, errOut)
	}
	s := f.start(t)
	f.until(t, "runs", runs("1.0.0"))
	out, errOut, code := f.model(t, "activate", f.at("2.0.0"), "--probation", "1s")
	if code != 0 || !strings.Contains(out, "main: the service has grey-2.0.0.tar.zst\n") || !strings.Contains(out, "main: grey@2.0.0 is live; the last was confirmed\n") {
		t.Fatalf("activate: %d\n%s%s", code, out, errOut)
	}
	t.Log("activate:\n" + out)
	f.until(t, "2.0.0 runs", runs("2.0.0"))
	out, errOut, code = f.model(t, "activate", f.at("3.0.0"), "--slot", "main")
	if code != exitFailed || !strings.Contains(errOut, "file:grey-3.0.0.tar.zst was refused") || !strings.Contains(errOut, "slot main runs grey@2.0.0") {
		t.Errorf("a bad one: %d\n%s%s", code, out, errOut)
	}
	oneLine(t, errOut)
	if _, no, code := f.model(t, "activate", filepath.Join(f.dir, "text.tar.zst")); code != exitFailed || !strings.Contains(no, "file:text.tar.zst was refused") {
		t.Errorf("no archive: %d\n%s", code, no)
	}
	t.Log("refused:\n" + out + errOut)
	out, _, code = f.model(t, "list")
	if code != 0 || !strings.Contains(out, "grey@2.0.0 on scripted") || !strings.Contains(out, "  refused") {
		t.Errorf("list: %d\n%s", code, out)
	}
	t.Log("list:\n" + out)
	out, _, code = f.model(t, "list", "--json")
	var all agent.ControlModels
	if err := json.Unmarshal([]byte(out), &all); err != nil || code != 0 || len(all.Refused) != 2 || all.Slots[0].Active.Model != "grey@2.0.0" || !all.Unsigned || all.Refused[0].Digest == "" {
		t.Fatalf("list --json: %d, %v\n%s", code, err, out)
	}
	if out, errOut, code = f.model(t, "forget", all.Refused[0].Digest[:12]); code != 0 || out != "1 digest may be tried again\n" {
		t.Errorf("forget: %d\n%s%s", code, out, errOut)
	}
	if _, errOut, code = f.model(t, "forget", "bottles/9"); code != exitFailed || !strings.Contains(errOut, "nothing is refused") {
		t.Errorf("forget what is not there: %d\n%s", code, errOut)
	}
	f.holdAndRelease(t)
	out, errOut, code = f.model(t, "rollback")
	if code != 0 || !strings.Contains(out, "the last was rolled back") {
		t.Errorf("rollback: %d\n%s%s", code, out, errOut)
	}
	t.Log("rollback:\n" + out)
	f.until(t, "1.0.0 runs again", runs("1.0.0"))
	if _, errOut, code = f.model(t, "rollback"); code != exitFailed || !strings.Contains(errOut, "there is nothing before it") {
		t.Errorf("rollback without a model before: %d\n%s", code, errOut)
	}
	if code := s.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("SIGTERM: exit %d", code)
	}
	if _, err := os.Lstat(filepath.Join(f.dir, "state/control.sock")); !os.IsNotExist(err) {
		t.Errorf("the socket stays: %v", err)
	}
	out, _, _ = heron(t, "outbox", "export", "--config", f.conf)
	for _, what := range []string{"install", "refuse", "hold", "release", "forget", "rollback"} {
		if !strings.Contains(out, `"what":"`+what+`"`) {
			t.Errorf("no audit of %s", what)
		}
	}
	if !strings.Contains(out, `"who":"technician (`) {
		t.Errorf("the audit does not say who")
	}
}

// While it is held, an activation waits and says why; interrupted, the service goes on with it.
func (f field) holdAndRelease(t *testing.T) {
	t.Helper()
	if out, errOut, code := f.model(t, "hold", "--for", "2h"); code != 0 || !strings.HasPrefix(out, "held until ") {
		t.Errorf("hold: %d\n%s%s", code, out, errOut)
	}
	s := f.until(t, "the page says so", func(s *status.Snapshot) bool { return !s.Models[0].Update.HoldUntil.IsZero() })
	if left := time.Until(s.Models[0].Update.HoldUntil); left < 110*time.Minute || left > 2*time.Hour {
		t.Errorf("held for another %v", left)
	}
	if _, page := get(t, f.page, "/"); !strings.Contains(page, "A technician holds the models as they are until ") {
		t.Error("the page does not show the hold")
	}
	c, said := command("model", "--config", f.conf, "activate", f.at("2.0.0"), "--probation", "0s"), &lockedBuffer{}
	c.Stdout, c.Stderr = said, said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Process.Kill() }()
	for end := time.Now().Add(30 * time.Second); !strings.Contains(said.String(), "on hold"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not say that it waits: %s", said)
		}
	}
	_ = c.Process.Signal(syscall.SIGINT)
	if _ = c.Wait(); c.ProcessState.ExitCode() != exitFailed || !strings.Contains(said.String(), "the service goes on") {
		t.Errorf("interrupted: %d %s", c.ProcessState.ExitCode(), said)
	}
	t.Log("held and interrupted:\n" + said.String())
	if out, _, code := f.model(t, "list"); code != 0 || !strings.Contains(out, "hold") || !strings.Contains(out, "on its way") {
		t.Errorf("list: %d\n%s", code, out)
	} else {
		t.Log("list, held:\n" + out)
	}
	if out, errOut, code := f.model(t, "release"); code != 0 {
		t.Errorf("release: %d\n%s%s", code, out, errOut)
	}
	f.until(t, "the model goes on", func(s *status.Snapshot) bool {
		return s.Models[0].Update.Step == "confirmed" && s.Models[0].Update.HoldUntil.IsZero()
	})
}

func TestModelOrdersThatAreNotTaken(t *testing.T) {
	for name, c := range map[string]struct{ repository, says string }{
		"nothing is configured": {"", "set repository.url for signed ones, or repository.unsigned: true"},
	} {
		f := newWorkshop(t, c.repository)
		f.start(t)
		f.until(t, "runs", runs("1.0.0"))
		for _, args := range [][]string{{"list"}, {"activate", f.at("2.0.0")}, {"rollback"}, {"hold", "--for", "1h"}, {"release"}, {"forget", "x"}} {
			if _, errOut, code := f.model(t, args...); code != exitFailed || !strings.Contains(errOut, c.says) {
				t.Errorf("%s: %v: %d %s", name, args, code, errOut)
			}
		}
		for _, u := range []struct {
			args []string
			code int
		}{
			{[]string{"hold"}, exitUsage}, {[]string{"hold", "--for", "200h"}, exitUsage}, {[]string{"rollback", "--slot", "x"}, exitUsage}, {[]string{"activate"}, exitUsage},
			{[]string{"activate", f.at("2.0.0"), "--shadow", "-1s"}, exitUsage}, {[]string{"activate", f.at("none")}, exitFailed}, {[]string{"activate", f.dir}, exitFailed},
		} {
			_, errOut, code := f.model(t, u.args...)
			if code != u.code {
				t.Errorf("%v: %d %s", u.args, code, errOut)
			}
			oneLine(t, errOut)
		}
	}
}

// The whole way of thin-edge.io: the plugin, the file, the service, heron-vision.
func TestPluginInstallsThroughTheService(t *testing.T) {
	t.Parallel()
	f := newWorkshop(t, "repository: {unsigned: true}\n")
	f.start(t)
	f.until(t, "runs", runs("1.0.0"))
	plugin := func(args ...string) (string, string, int) {
		return heron(t, append([]string{"--config", f.conf, "te-plugin"}, args...)...)
	}
	out, errOut, code := plugin("install", "grey", "--module-version", "2.0.0", "--file", f.at("2.0.0"))
	if code != 0 || out != "" {
		t.Fatalf("install: %d\n%s%s", code, out, errOut)
	}
	t.Log("install:\n" + errOut)
	if out, _, _ = plugin("list"); !strings.HasSuffix(out, "\ngrey\t2.0.0\n") {
		t.Errorf("list: %q", out)
	}
	if _, errOut, code = plugin("install", "grey", "--module-version", "3.0.0", "--file", f.at("3.0.0")); code != 2 || !strings.Contains(errOut, "was refused") {
		t.Errorf("a bad one: %d\n%s", code, errOut)
	}
	if out, _, _ = plugin("list"); !strings.HasSuffix(out, "\ngrey\t2.0.0\n") {
		t.Errorf("list after a refusal: %q", out)
	}
}
