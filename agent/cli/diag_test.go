package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"heron/agent/diag"
	"heron/agent/status"
)

// unpacked are the members of a support bundle.
func unpacked(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	zr, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = string(b)
		if strings.HasSuffix(h.Name, ".json") && !json.Valid(b) && !strings.HasPrefix(string(b), "not available") {
			t.Errorf("%s is no JSON: %.300s", h.Name, b)
		}
	}
}

func (f field) diag(t *testing.T, args ...string) (members map[string]string, out, errOut string, code int) {
	t.Helper()
	path := filepath.Join(f.dir, "support.tar.gz")
	out, errOut, code = heron(t, append([]string{"diag", "--config", f.conf, "-o", path}, args...)...)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v, exit %d: %s%s", err, code, out, errOut)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 || info.Size() > 8<<20 {
		t.Errorf("%v, %d bytes", info.Mode(), info.Size())
	}
	return unpacked(t, b), out, errOut, code
}

// planted are secrets as people have them: in a password file, in a login, in an address.
var planted = []string{"br0ker-Passw0rd!", "cam-l0gin", "t0ken-in-url", "k3y&more", "c4mera-file-pw"} // read only

// newSecretive is a device that has them all, and a camera that nobody answers for.
func newSecretive(t *testing.T) field {
	f := newField(t, nobody, "pictures:pictures?loop=true")
	f.write(t, "broker-password", planted[0]+"\n")
	f.write(t, "camera-password", planted[4]+"\n")
	f.write(t, "heron.yaml", fmt.Sprintf(`
device: {group: test, id: dev-1}
cameras:
  - {name: front, source: "pictures:pictures?loop=true", fps: 20}
  - {name: gate, source: "http://admin:%s@127.0.0.1:9/live?token=%s&api_key=k3y%%26more", fps: 5}
  - {name: yard, source: "http://127.0.0.1:9/yard", fps: 5, credentials: {username: admin, password_file: camera-password}}
models: [{bundle: bundle, cameras: [front, gate, yard]}]
outbox: {path: state/outbox.db, max_size: 16MiB}
uplink: {broker: "%s", credentials: {username: dev-1, password_file: broker-password}}
repository: {unsigned: true}
vision: {command: "%s"}
status: {listen: "%s"}
log: {level: debug}
`, planted[1], planted[2], nobody, os.Args[0], f.page))
	return f
}

func mustHideAll(t *testing.T, members map[string]string) {
	t.Helper()
	for name, text := range members {
		for _, secret := range planted {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s has the secret %s: …%.120s", name, secret, text[max(0, i-60):])
			}
		}
	}
}

func TestDiagOfARunningService(t *testing.T) {
	t.Parallel()
	f := newSecretive(t)
	s := f.start(t)
	front := func(s *status.Snapshot) status.Camera { return s.Cameras[0] }
	snap := f.until(t, "classifies", func(s *status.Snapshot) bool {
		return len(s.Cameras) == 3 && front(s).Inferred > 5 && s.Cameras[1].LastError != "" && s.Cameras[2].LastError != ""
	})
	if err := syscall.Kill(snap.Vision.PID, syscall.SIGABRT); err != nil { // the fault
		t.Fatal(err)
	}
	f.until(t, "classifies again", func(s *status.Snapshot) bool {
		return s.Vision.Restarts == 1 && front(s).Inferred > snap.Cameras[0].Inferred+5
	})
	members, out, errOut, code := f.diag(t, "--json")
	if code != 0 {
		t.Fatalf("%d %s%s", code, out, errOut)
	}
	var listed struct {
		File  string
		Live  bool
		Bytes int
		Files []diag.Entry
	}
	if err := json.Unmarshal([]byte(out), &listed); err != nil || !listed.Live || len(listed.Files) != len(members) || listed.Bytes == 0 {
		t.Errorf("%v, %+v, %s", err, listed, members["service.txt"])
	}
	for name, want := range map[string]string{
		"status.json": `"inferred"`, "config.yaml": "password_file: ", "metrics.txt": "heron_", "accel.json": `"scripted"`, "cameras.json": `"gate"`, "outbox.json": `"Commits"`,
		"models.json": `"slots"`, "board.json": `"orders"`, "system.json": `"kernel"`, "version.json": `"heron"`, "reported.json": `"slot"`, "commands.json": "{", "vision.json": "SIGABRT: abort",
		"log.txt": "SIGABRT: abort", "uplink.json": nobody[len("mqtt://"):], "memory.txt": "MemTotal", "info.json": `"cameras"`, "process.txt": "VmRSS", "desired.json": "{",
	} {
		if !strings.Contains(members[name], want) {
			t.Errorf("%s does not say %q: %.400q", name, want, members[name])
		}
	}
	for _, want := range []string{"msg=running", "source=heron-vision", "time=20", "level=WARN"} {
		if !strings.Contains(members["log.txt"], want) {
			t.Errorf("the log does not say %s:\n%s", want, members["log.txt"])
		}
	}
	mustHideAll(t, members)
	mustHideAll(t, map[string]string{"the service's own log": s.log.String()})
	if strings.Contains(members["system.json"], "not available") || !strings.Contains(members["system.json"], "outbox.db") {
		t.Errorf("system.json: %s", members["system.json"])
	}
	if n := strings.Count(members["config.yaml"], "…"); n < 3 {
		t.Errorf("%d secrets were taken out of the configuration:\n%s", n, members["config.yaml"])
	}
	t.Logf("%d files, %d bytes", len(members), listed.Bytes)
	if code := s.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d", code)
	}
	f.diagWithoutService(t)
}

func (f field) diagWithoutService(t *testing.T) {
	t.Helper()
	members, out, errOut, code := f.diag(t)
	if code != 0 || !strings.Contains(errOut, "no running service was asked") || !strings.Contains(out, "support.tar.gz: ") {
		t.Errorf("%d %s%s", code, out, errOut)
	}
	for name, want := range map[string]string{"service.txt": "is the service running", "config.yaml": "dev-1", "config-as-written.yaml": "cameras:", "outbox.json": `"epoch"`,
		"accel.json": `"scripted"`, "system.json": "outbox.db", "board.json": `"state"`, "version.json": `"heron"`} {
		if !strings.Contains(strings.ToLower(members[name]), want) {
			t.Errorf("%s does not say %q: %.400q", name, want, members[name])
		}
	}
	mustHideAll(t, members)
	f.write(t, "heron.yaml", "cameras: [{name: front, sorce: x, password: "+planted[0]+"}]\n")
	members, out, errOut, code = f.diag(t)
	if code != 0 || !strings.Contains(members["service.txt"], "sorce") || !strings.Contains(members["config-as-written.yaml"], "sorce: x") {
		t.Errorf("a configuration that cannot be used: %d %s%s\n%v", code, out, errOut, members)
	}
	mustHideAll(t, members)
}
