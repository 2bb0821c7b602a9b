package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"heron/agent/diag"
	"heron/camera"
	"heron/internal/atomicfile"
)

// What a support bundle asks other programs may take so long; what they do not say in that time is told as missing.
const (
	askCameras = 20 * time.Second
	askJournal = 5 * time.Second
	mostFiles  = 500 // of the state folder that are listed
)

// folder collects the files of a support bundle. What cannot be had is a file that says why.
type folder struct{ files []diag.File }

func (f *folder) text(name string, b []byte, err error) {
	if err != nil {
		b = fmt.Appendf(b, "not available: %v\n", err)
	}
	f.files = append(f.files, diag.File{Name: name, Body: b})
}

func (f *folder) json(name string, v any) {
	b, err := json.MarshalIndent(v, "", " ")
	f.text(name, append(b, '\n'), err)
}

// supportFiles are what this service knows of itself: copies of counters and lists, as the page has them. No frame waits for it.
func (a *Agent) supportFiles(ctx context.Context) []diag.File {
	f := &folder{}
	s := a.Snapshot()
	f.json("status.json", s)
	f.json("info.json", a.info())
	f.json("reported.json", a.reported())
	f.json("accel.json", s.Engines)
	attached, err := a.attached(ctx)
	f.json("cameras.json", map[string]any{"configured": s.Cameras, "attached": attached, "attached_error": said(err)})
	f.json("outbox.json", a.outbox.Stats())
	f.json("vision.json", a.visionStats())
	if a.uplink != nil {
		f.json("uplink.json", a.uplink.Stats())
	}
	if a.updates != nil {
		list, err := a.controlList(nil, nil)
		f.json("models.json", map[string]any{"models": list, "error": said(err), "slots": a.updates.models.State(), "stats": a.updates.models.Stats(), "fetch": a.fetchStats()})
	}
	if a.orders != nil {
		f.json("commands.json", a.orders.commands.Stats())
		f.json("desired.json", a.orders.desired.Resolved())
	}
	f.json("board.json", a.boardFacts())
	text, err := a.conf.Effective()
	f.text("config.yaml", text, err)
	if a.page != nil {
		text, err := a.page.Metrics()
		f.text("metrics.txt", text, err)
	}
	f.text("log.txt", a.opt.Recent.Text(), nil)
	if a.conf.Vision.Socket != "" { // then systemd has its words, not we
		text, err := journal(ctx, "-t", "heron-vision")
		f.text("log-vision.txt", text, err)
	}
	system(f, &a.conf, a.opt.Version)
	return f.files
}

// boardFacts are what the board said last, and what was made of it.
func (a *Agent) boardFacts() any {
	a.mu.Lock()
	defer a.mu.Unlock()
	return map[string]any{"state": a.fit.state, "orders": a.fit.orders, "troubles": a.fit.troubles}
}

// attached asks a heron-vision of its own which cameras there are: heron opens no devices.
func (a *Agent) attached(ctx context.Context) ([]camera.Attached, error) {
	if a.conf.Vision.Socket != "" {
		return nil, fmt.Errorf("heron-vision is systemd's here; heron camera list shows them")
	}
	return AttachedCameras(ctx, a.lookConf.Command[0])
}

// AttachedCameras asks the heron-vision program at path.
func AttachedCameras(ctx context.Context, path string) (found []camera.Attached, err error) {
	ctx, cancel := context.WithTimeout(ctx, askCameras)
	defer cancel()
	var out, errs bytes.Buffer
	c := exec.CommandContext(ctx, path, "--cameras")
	c.Stdout, c.Stderr, c.WaitDelay = &out, &errs, time.Second
	if err := c.Run(); err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(errs.String()), "\n")
		return nil, fmt.Errorf("%s --cameras: %w %.200s", path, err, first)
	}
	if err := json.Unmarshal(out.Bytes(), &found); err != nil {
		return nil, fmt.Errorf("%s --cameras: %w", path, err)
	}
	return found, nil
}

// journal asks the system's log for its newest lines.
func journal(ctx context.Context, which ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askJournal)
	defer cancel()
	c := exec.CommandContext(ctx, "journalctl", append([]string{"--no-pager", "-q", "-n", "2000", "-o", "short-iso"}, which...)...)
	var errs bytes.Buffer
	c.Stderr, c.WaitDelay = &errs, time.Second
	out, err := c.Output()
	if err != nil {
		return out, fmt.Errorf("journalctl %s: %w %.200s", strings.Join(which, " "), err, strings.TrimSpace(errs.String()))
	}
	return out[max(0, len(out)-256<<10):], nil
}

func said(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// system is about the machine under it all.
func system(f *folder, conf *Config, version string) {
	var u unix.Utsname
	_ = unix.Uname(&u) // a Linux that cannot say its name has an empty one
	facts := map[string]any{"kernel": unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Version[:]), "machine": unix.ByteSliceToString(u.Machine[:]),
		"os": osName(), "hardware": hardware(), "cpus": runtime.NumCPU(), "made": time.Now().UTC().Format(time.RFC3339)}
	for name, path := range map[string]string{"load": "/proc/loadavg", "uptime": "/proc/uptime", "clocksource": "/sys/devices/system/clocksource/clocksource0/current_clocksource", "cgroup": "/proc/self/cgroup"} {
		b, err := os.ReadFile(path)
		facts[name] = strings.TrimSpace(string(b) + said(err))
	}
	if conf != nil {
		facts["disk_free"] = diskFree(conf.Outbox.Path)
		facts["state"] = listing(filepath.Dir(conf.Outbox.Path))
	}
	f.json("system.json", facts)
	for name, path := range map[string]string{"memory.txt": "/proc/meminfo", "process.txt": "/proc/self/status"} {
		b, err := os.ReadFile(path)
		f.text(name, b, err)
	}
	f.json("version.json", map[string]string{"heron": version, "go": runtime.Version(), "arch": runtime.GOARCH})
}

// listing is what lies in the state folder: names, sizes, times; no content.
func listing(dir string) []string {
	out := []string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if len(out) == mostFiles {
			return fs.SkipAll
		}
		if err != nil {
			out = append(out, err.Error())
			return nil
		}
		if info, err := d.Info(); err == nil {
			rel, _ := filepath.Rel(dir, path) // path is below dir
			out = append(out, fmt.Sprintf("%s %10d %s %s", info.Mode(), info.Size(), info.ModTime().UTC().Format(time.RFC3339), rel))
		}
		return nil
	})
	if err != nil {
		out = append(out, err.Error())
	}
	return out
}

// secrets are the texts of a configuration that nobody else is to read.
func (c *Config) secrets() []string {
	var out []string
	if c == nil {
		return out
	}
	for _, address := range []string{c.Uplink.Broker, c.Repository.URL} {
		out = append(out, diag.OfURL(address)...)
	}
	files := []string{c.Uplink.Credentials.PasswordFile}
	for _, cam := range c.Cameras {
		files = append(files, cam.Credentials.PasswordFile)
		out = append(out, diag.OfURL(cam.Source)...)
		out = append(out, diag.OfURL(strings.TrimPrefix(cam.Source, "snapshot+"))...)
	}
	for _, path := range files {
		if b, err := atomicfile.Read(path); err == nil && len(b) < 4<<10 { // one that cannot be read is known to nobody here
			out = append(out, strings.TrimSpace(string(b)))
		}
	}
	return out
}

// support makes the archive; also are further secrets to look for, such as those of the address that it goes to.
func (a *Agent) support(ctx context.Context, also ...string) ([]byte, error) {
	var b bytes.Buffer
	err := diag.Pack(&b, a.supportFiles(ctx), diag.NewSecrets(append(a.conf.secrets(), also...)))
	return b.Bytes(), err
}

// controlDiag gives a technician the archive.
func (a *Agent) controlDiag(w http.ResponseWriter, r *http.Request) {
	b, err := a.support(r.Context())
	if err != nil {
		answer(w, nil, err)
		return
	}
	w.Header().Set("Content-Type", "application/gzip")
	_, _ = w.Write(b) // who has left needs none
}
