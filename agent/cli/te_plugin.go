package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"heron/agent"
	"heron/agent/status"
	"heron/sync/models"
	"heron/sync/thinedge"
)

// pluginFolder is where thin-edge.io looks for its plugins. A link there that leads to heron makes heron one, whatever its name.
const pluginFolder = "sm-plugins"

// asPlugin puts the subcommand in front when heron was called through such a link.
func asPlugin(self string, args []string) []string {
	if filepath.Base(filepath.Dir(self)) == pluginFolder {
		return append([]string{"te-plugin"}, args...)
	}
	return args
}

func (a *app) tePluginCommand() *cobra.Command {
	return &cobra.Command{
		Use: "te-plugin list|prepare|install|remove|finalize", Short: "Be a software-management plugin of thin-edge.io",
		Long: "Called by tedge-agent, through a link in /etc/tedge/sm-plugins or a script there. Its modules are heron itself and the models that run.\n" +
			"Exit codes are thin-edge.io's: 0 done, 1 usage, 2 failed, 3 failed and worth another try.",
		DisableFlagParsing: true, // the options are thin-edge.io's
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 1 && args[0] == "--config" { // heron --config FILE te-plugin …
				a.configPath, args = args[1], args[2:]
			}
			ctx, cancel := context.WithTimeout(c.Context(), thinedge.Patience-30*time.Second)
			defer cancel()
			return a.newPlugin().run(ctx, args)
		},
	}
}

// plugin does what one call asks for.
type plugin struct {
	app      *app
	version  string
	look     time.Duration // between looks at whether a model runs
	activate func(ctx context.Context, file, slot string) error
}

func (a *app) newPlugin() *plugin {
	p := &plugin{app: a, version: Version(), look: time.Second}
	p.activate = p.modelActivate
	return p
}

// pluginError is an error with an exit code of thin-edge.io's.
func pluginError(code int, format string, args ...any) error {
	return &codedError{code, fmt.Errorf("te-plugin: "+format, args...)}
}

func (p *plugin) run(ctx context.Context, args []string) error {
	call, err := thinedge.ParseCall(args)
	if err != nil {
		return pluginError(thinedge.ExitUsage, "%w", err)
	}
	if call.Verb == "prepare" || call.Verb == "finalize" {
		return nil
	}
	conf, err := agent.Load(p.app.configPath, os.Environ())
	if call.Verb == "list" {
		return p.list(conf) // never an error: thin-edge.io would forget the plugin
	}
	if err != nil {
		return pluginError(thinedge.ExitFailed, "%w", err)
	}
	if call.Name == thinedge.Service {
		return pluginError(thinedge.ExitFailed, "heron itself is installed and removed as a package; use the plugin of its package manager, such as apt")
	}
	if call.Verb == "remove" {
		return p.remove(conf, call)
	}
	return p.install(ctx, conf, call)
}

func (p *plugin) list(conf *agent.Config) error {
	all := []thinedge.Module{{Name: thinedge.Service, Version: p.version}}
	if conf != nil {
		for _, m := range installed(conf) {
			all = append(all, m.Module)
		}
	}
	_, err := p.app.out.Write([]byte(thinedge.List(all)))
	return err
}

// installedModel is a module in a slot.
type installedModel struct {
	thinedge.Module
	slot string
	live bool // it runs; else it is what the configuration names
}

// installed are the models that run, as the service says; those that the configuration names while it does not answer.
func installed(conf *agent.Config) (all []installedModel) {
	s, err := pluginStatus(conf)
	for _, m := range conf.Models {
		i := installedModel{slot: m.Slot}
		if err == nil {
			for _, live := range s.Models {
				if live.Slot == m.Slot && live.State == "live" {
					i.Name, i.Version, i.live = live.Name, live.Version, true
				}
			}
		} else if name, version, err := lookInto(m.Bundle); err == nil {
			i.Name, i.Version = name, version
		}
		if i.Name != "" {
			i.Name = moduleName(conf, m.Slot, i.Name)
			all = append(all, i)
		}
	}
	return all
}

// moduleName is the model's own, with its slot in front where there are several.
func moduleName(conf *agent.Config, slot, model string) string {
	if len(conf.Models) > 1 {
		return slot + "/" + model
	}
	return model
}

func pluginStatus(conf *agent.Config) (*status.Snapshot, error) {
	if conf.Status.Listen == "off" {
		return nil, errors.New("the local page is switched off (status.listen), and through it the service is asked")
	}
	return fetchStatus(conf.Status.Listen)
}

// lookInto reads a bundle's name and version. An archive is unpacked into a folder that goes again: this is root, and what it left
// in the service's own folder the service could not touch.
func lookInto(path string) (name, version string, err error) {
	scratch, err := os.MkdirTemp("", "heron-te-")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(scratch)
	dir, err := models.Open(path, scratch)
	if err != nil {
		return "", "", err
	}
	b, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		return "", "", fmt.Errorf("model bundle %s: %w", path, err)
	}
	var m struct{ Name, Version string }
	if err := json.Unmarshal(b, &m); err != nil {
		return "", "", fmt.Errorf("model bundle %s: manifest.json: %w", path, err)
	}
	if m.Name == "" || m.Version == "" {
		return "", "", fmt.Errorf("model bundle %s: manifest.json has no name or no version", path)
	}
	return m.Name, m.Version, nil
}

func (p *plugin) remove(conf *agent.Config, call thinedge.Call) error {
	for _, m := range installed(conf) {
		if m.Name == call.Name && (call.Version == "" || call.Version == m.Version) {
			return pluginError(thinedge.ExitFailed, "%s %s is the model of slot %s, and without one the cameras are not classified; install another version in its place", m.Name, m.Version, m.slot)
		}
	}
	return nil // it is not there
}

// install checks that the file is what it is called, has the service take it, and waits until it runs.
func (p *plugin) install(ctx context.Context, conf *agent.Config, call thinedge.Call) error {
	if call.File == "" {
		return pluginError(thinedge.ExitFailed, "install %s: no file; give the module a URL, from which thin-edge.io fetches it. Models of the signed repository come by heron fleet push", call.Name)
	}
	name, version, err := lookInto(call.File)
	if err != nil {
		return pluginError(thinedge.ExitFailed, "install %s: %w", call.Name, err)
	}
	slot := slotFor(conf, call.Name, name)
	switch {
	case slot == "":
		return pluginError(thinedge.ExitFailed, "install %s: the file holds the model %q; call the module %s", call.Name, name, moduleName(conf, "SLOT", name))
	case call.Version != "" && call.Version != version:
		return pluginError(thinedge.ExitFailed, "install %s: the file holds version %s, not %s", call.Name, version, call.Version)
	}
	if _, err := pluginStatus(conf); err != nil {
		return pluginError(thinedge.ExitRetry, "install %s: the service does not answer: %w", call.Name, err)
	}
	if err := p.activate(ctx, call.File, slot); err != nil {
		return err
	}
	return p.await(ctx, conf, slot, thinedge.Module{Name: call.Name, Version: version})
}

// slotFor is the slot of a module whose file holds the model; empty: the name does not fit.
func slotFor(conf *agent.Config, module, model string) string {
	for _, m := range conf.Models {
		if moduleName(conf, m.Slot, model) == module {
			return m.Slot
		}
	}
	return ""
}

// await waits until the service runs it: what list says afterwards must be true.
func (p *plugin) await(ctx context.Context, conf *agent.Config, slot string, want thinedge.Module) error {
	look := time.NewTicker(p.look)
	defer look.Stop()
	now := "nothing"
	for {
		for _, m := range installed(conf) {
			if m.slot == slot && m.live {
				if m.Module == want {
					return nil
				}
				now = m.Name + " " + m.Version
			}
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return pluginError(thinedge.ExitRetry, "install %s: version %s does not run yet; slot %s runs %s. heron status says why", want.Name, want.Version, slot, now)
		}
	}
}

// modelActivate is the command heron model activate, within this process.
func (p *plugin) modelActivate(ctx context.Context, file, slot string) error {
	in := &app{in: p.app.in, out: p.app.errOut, errOut: p.app.errOut, configPath: p.app.configPath}
	root := in.root()
	file, err := filepath.Abs(file)
	if err != nil {
		return pluginError(thinedge.ExitFailed, "install: %w", err)
	}
	root.SetArgs([]string{"model", "activate", file, "--slot", slot, "--until-live", "--config", p.app.configPath}) // thin-edge.io has less patience than a probation lasts
	root.SetOut(in.out)
	root.SetErr(in.errOut)
	err = root.ExecuteContext(ctx)
	var coded *codedError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil, errors.As(err, &coded) && coded.code == exitUnreachable:
		return pluginError(thinedge.ExitRetry, "%w", err)
	}
	return pluginError(thinedge.ExitFailed, "%w", err)
}
