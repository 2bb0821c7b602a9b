package agent

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"time"

	"heron/agent/board"
	"heron/agent/diag"
	"heron/sync/outbox"
	"heron/vision"
)

// Support makes the archive without a service, from what can be read. conf is nil where the configuration at path cannot be used: why is why.
func Support(ctx context.Context, w io.Writer, conf *Config, path, version string, why error) error {
	f := &folder{}
	raw, err := os.ReadFile(path)
	f.text("config-as-written.yaml", raw, err)
	f.text("service.txt", nil, why)
	command := "heron-vision"
	if conf != nil {
		text, err := conf.Effective()
		f.text("config.yaml", text, err)
		f.memory(conf)
		if conf.Vision.Command != "" {
			command = conf.Vision.Command
		}
	}
	f.machine(ctx, command)
	text, err := journal(ctx, "-u", "heron")
	f.text("log.txt", text, err)
	text, err = journal(ctx, "-t", "heron-vision")
	f.text("log-vision.txt", text, err)
	system(f, conf, version)
	return diag.Pack(w, f.files, diag.NewSecrets(conf.secrets()))
}

// machine asks the devices, without a service.
func (f *folder) machine(ctx context.Context, command string) {
	path, err := FindVision(command)
	if err != nil {
		f.text("accel.json", nil, err)
		f.text("cameras.json", nil, err)
		return
	}
	engines, err := vision.Look(ctx, vision.ClientConfig{Command: []string{path}, BeatTimeout: 20 * time.Second})
	f.json("accel.json", map[string]any{"engines": engines, "error": said(err)})
	attached, err := AttachedCameras(ctx, path)
	f.json("cameras.json", map[string]any{"attached": attached, "attached_error": said(err)})
	f.json("board.json", map[string]any{"state": board.New(board.Config{}).Read(ctx, time.Now())})
}

// memory is what the last service left behind: documents, commands, models, what waits to be sent.
func (f *folder) memory(conf *Config) {
	dir := filepath.Dir(conf.Outbox.Path)
	report, err := outbox.Verify(conf.Outbox.Path)
	f.json("outbox.json", map[string]any{"report": report, "error": said(err)})
	names := []string{"desired.json", "patches.json", "commands.log"}
	good, _ := filepath.Glob(filepath.Join(dir, "models", "good-*.json")) // the pattern is right
	for _, path := range good {
		names = append(names, filepath.Join("models", filepath.Base(path)))
	}
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(dir, name))
		f.text("state/"+name, b, err)
	}
}
