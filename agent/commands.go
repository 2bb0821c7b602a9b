package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"time"

	"heron/agent/diag"
	"heron/agent/status"
	"heron/internal/fetch"
	"heron/sync/command"
	"heron/vision"
)

// ErrRestart ends Run so that the caller starts the service anew.
var ErrRestart = errors.New("a restart was asked for")

// registerCommands says what this device can be told to do.
func (a *Agent) registerCommands() error {
	for _, act := range []command.Act{
		{Type: "ping", Do: a.ping},
		{Type: "snapshot", Do: a.sendSnapshot, Deadline: 2 * time.Minute},
		{Type: "diag", Do: a.sendDiag, Deadline: 5 * time.Minute},
		{Type: "restart", Check: noArguments, Do: a.restart, Returns: true, Every: time.Minute},
		{Type: "reboot", Check: noArguments, Do: a.reboot, Returns: true, Reboots: true, Every: time.Hour},
		{Type: "rollback", Do: a.rollbackModel},
		{Type: "log-level", Do: a.logLevel},
		{Type: "camera-test", Do: a.cameraTest, Deadline: time.Minute},
	} {
		if err := a.orders.commands.Register(act); err != nil {
			return err
		}
	}
	return nil
}

// arguments reads a command's arguments strictly.
func arguments(raw json.RawMessage, into any) error {
	if len(raw) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return command.Error{Code: "args", Message: fmt.Sprintf("args: %v", err)}
	}
	return nil
}

func noArguments(raw json.RawMessage) error { return arguments(raw, &struct{}{}) }

func (a *Agent) ping(_ context.Context, args json.RawMessage, _ func(string, int)) (any, error) {
	return map[string]any{"agent": a.opt.Version, "uptime_s": int(time.Since(a.started).Seconds())}, noArguments(args)
}

// upload is where a file goes: by HTTPS PUT to a host that the repository's settings name.
func (a *Agent) upload(ctx context.Context, url, kind string, body []byte) (any, error) {
	if a.updates == nil || a.updates.fetch == nil {
		return nil, command.Error{Code: "no-repository", Message: "uploads need repository.url, and repository.hosts for other hosts"}
	}
	if url == "" {
		return nil, command.Error{Code: "args", Message: "args: url is missing: where the file is to be put, by HTTPS PUT"}
	}
	digest, err := a.updates.fetch.Put(ctx, url, bytes.NewReader(body), int64(len(body)), kind)
	if err != nil {
		return nil, err
	}
	return map[string]any{"sha256": digest, "bytes": len(body)}, nil
}

func (a *Agent) sendSnapshot(ctx context.Context, args json.RawMessage, progress func(string, int)) (any, error) {
	in := struct {
		Camera string `json:"camera"`
		URL    string `json:"url"`
		Width  int    `json:"width"`
		Draw   bool   `json:"draw"`
	}{Camera: a.conf.Cameras[0].Name}
	if err := arguments(args, &in); err != nil {
		return nil, err
	}
	if in.Width != 0 && (in.Width < status.MinPictureWidth || in.Width > status.MaxPictureWidth) {
		return nil, command.Error{Code: "args", Message: fmt.Sprintf("width is %d; expected a number of pixels from %d to %d, or none for the whole picture", in.Width, status.MinPictureWidth, status.MaxPictureWidth)}
	}
	p, err := a.vision.Snapshot(ctx, in.Camera, vision.SnapshotOptions{MaxWidth: in.Width, Draw: in.Draw})
	if err != nil {
		return nil, err
	}
	progress("upload", 0)
	return a.upload(ctx, in.URL, "image/jpeg", p.JPEG)
}

// sendDiag uploads a support bundle: the state, the settings without secrets, the newest log lines, the machine.
func (a *Agent) sendDiag(ctx context.Context, args json.RawMessage, progress func(string, int)) (any, error) {
	in := struct {
		URL string `json:"url"`
	}{}
	if err := arguments(args, &in); err != nil {
		return nil, err
	}
	progress("collect", 0)
	b, err := a.support(ctx, diag.OfURL(in.URL)...)
	if err != nil {
		return nil, err
	}
	progress("upload", 0)
	return a.upload(ctx, in.URL, "application/gzip", b)
}

func (a *Agent) fetchStats() any {
	if a.updates == nil || a.updates.fetch == nil {
		return nil
	}
	return struct {
		fetch.Stats
		Patched, PatchesLost int64 // bundles made by a patch, and those fetched whole because it was of no use
	}{a.updates.fetch.Stats(), a.updates.byPatch.made.Load(), a.updates.byPatch.lost.Load()}
}

func (a *Agent) restart(context.Context, json.RawMessage, func(string, int)) (any, error) {
	a.restartSoon()
	return nil, nil
}

// reboot asks the system's own manager, which decides whether this user may.
func (a *Agent) reboot(ctx context.Context, _ json.RawMessage, _ func(string, int)) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "systemctl", "reboot").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("systemctl reboot: %w %s", err, strings.TrimSpace(string(out)))
	}
	return nil, nil
}

func (a *Agent) rollbackModel(_ context.Context, args json.RawMessage, _ func(string, int)) (any, error) {
	in := struct {
		Slot string `json:"slot"`
	}{Slot: a.conf.Models[0].Slot}
	if err := arguments(args, &in); err != nil {
		return nil, err
	}
	if a.updates == nil {
		return nil, command.Error{Code: "no-repository", Message: errNoRepository.Error()}
	}
	return nil, a.updates.models.Rollback(in.Slot, "fleet")
}

func (a *Agent) logLevel(_ context.Context, args json.RawMessage, _ func(string, int)) (any, error) {
	in := struct {
		Level string `json:"level"`
	}{}
	if err := arguments(args, &in); err != nil {
		return nil, err
	}
	var l slog.Level
	if err := l.UnmarshalText([]byte(in.Level)); err != nil || !isLogLevel(strings.ToLower(in.Level)) { // the reader takes info+3, too
		return nil, command.Error{Code: "args", Message: fmt.Sprintf("level is %.64q; expected debug, info, warn or error", in.Level)}
	}
	if a.opt.Level == nil {
		return nil, errors.New("this service's log has no level that could be changed")
	}
	a.opt.Level.Set(l)
	return map[string]string{"level": strings.ToLower(l.String())}, nil
}

// cameraTest says how a camera does, from what the service knows of it.
func (a *Agent) cameraTest(ctx context.Context, args json.RawMessage, _ func(string, int)) (any, error) {
	in := struct {
		Camera string `json:"camera"`
	}{Camera: a.conf.Cameras[0].Name}
	if err := arguments(args, &in); err != nil {
		return nil, err
	}
	s := a.Snapshot()
	for _, c := range s.Cameras {
		if c.Name == in.Camera {
			p, err := a.vision.Snapshot(ctx, in.Camera, vision.SnapshotOptions{MaxWidth: 320})
			out := map[string]any{"state": c.State, "fps": c.FPS, "width": c.Width, "height": c.Height, "facts": c.Facts, "frame_age_s": c.FrameAgeS, "last_error": c.LastError, "picture": err == nil, "picture_bytes": len(p.JPEG)}
			return out, cameraVerdict(c, err)
		}
	}
	return nil, command.Error{Code: "args", Message: fmt.Sprintf("there is no camera %q", in.Camera)}
}

// cameraVerdict is what is wrong with a camera; err is why there was no picture of it. A camera can run and give none: while heron-vision
// is replaced, for one.
func cameraVerdict(c status.Camera, err error) error {
	switch {
	case c.State != "running":
		return command.Error{Code: "camera", Message: fmt.Sprintf("camera %s is %s: %s", c.Name, c.State, c.LastError)}
	case err != nil:
		return command.Error{Code: "camera", Message: fmt.Sprintf("camera %s is running, and gave no picture: %v", c.Name, err)}
	}
	return nil
}
