package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"heron/agent"
	"heron/inference"
	"heron/vision"
)

// Results of an engine in `heron model verify`.
const (
	verifyOK      = "ok"
	verifyRefused = "refused"
	verifyAbsent  = "not available here"
)

// verifiedBundle is what `heron model verify --json` says.
type verifiedBundle struct {
	Bundle  string           `json:"bundle"`
	Name    string           `json:"name,omitempty"`
	Version string           `json:"version,omitempty"`
	OK      bool             `json:"ok"`
	Checks  []check          `json:"checks"`
	Engines []verifiedEngine `json:"engines"`
	dir     string           // where it was unpacked, which nobody wants to read
}

// check is one that needs no engine.
type check struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

type verifiedEngine struct {
	Engine   string `json:"engine"`
	Device   string `json:"device,omitempty"`
	File     string `json:"file"`
	Result   string `json:"result"`
	Code     string `json:"code,omitempty"`
	Reason   string `json:"reason,omitempty"`
	NextStep string `json:"next_step,omitempty"`
}

func (a *app) modelVerify() *cobra.Command {
	var engine, command string
	c := &cobra.Command{Use: "verify BUNDLE", Short: "Check a bundle and run it here on every engine that it has: digests, contract, golden pictures, budget", Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			if err := checkEngineFlag("model verify", engine); err != nil {
				return err
			}
			return a.verify(c.Context(), list[0], engine, command)
		}}
	c.Flags().StringVar(&engine, "engine", "", "only this `engine`, as heron accel list names it")
	c.Flags().StringVar(&command, "vision", "heron-vision", "the heron-vision `program`")
	return c
}

func (a *app) verify(ctx context.Context, path, engine, command string) error {
	program, err := agent.FindVision(command)
	if err != nil {
		return err
	}
	o, err := openBundle(path)
	if err != nil {
		return err
	}
	defer o.close()
	v := &verifiedBundle{Bundle: path, Engines: []verifiedEngine{}, dir: o.dir}
	b := v.look(ctx, a, o.dir, engine)
	if b != nil && v.sound() {
		if err := v.run(ctx, b, engine, program); err != nil {
			return err
		}
	}
	verdict := v.verdict()
	v.OK = verdict == nil
	if a.json {
		err = json.NewEncoder(a.out).Encode(v)
	} else {
		err = a.printVerifiedBundle(v)
	}
	if err != nil {
		return err
	}
	return verdict
}

func (v *verifiedBundle) note(name string, err error, detail string) bool {
	if err != nil {
		detail = strings.ReplaceAll(err.Error(), v.dir, v.Bundle)
	}
	v.Checks = append(v.Checks, check{name, err == nil, detail})
	return err == nil
}

func (v *verifiedBundle) sound() bool {
	return !slices.ContainsFunc(v.Checks, func(c check) bool { return !c.OK })
}

// look does what needs no engine. nil: there is no bundle to go on with.
func (v *verifiedBundle) look(ctx context.Context, a *app, dir, engine string) *inference.Bundle {
	var want []string
	if engine != "" {
		want = []string{engine}
	}
	b, err := inference.ReadBundle(dir, want)
	if !v.note("manifest and labels", err, "") {
		return nil
	}
	m := b.Manifest
	v.Name, v.Version = m.Name, m.Version
	v.Checks[0].Detail = fmt.Sprintf("%s %s, %s", m.Name, m.Version, plural(len(b.Labels), "label"))
	v.files(ctx, a, dir, m)
	for _, c := range b.Candidates {
		v.contract(b, c)
	}
	v.note("golden", goldenLabels(b), goldenWords(m.Golden)+orSay(len(m.Golden) > 0, ": no answer is compared"))
	limit := budget(m.Budget)
	v.note("budget", nil, limit+orSay(limit != "none", ": time and memory are not judged"))
	return b
}

// orSay is the text where a check had nothing to do.
func orSay(ok bool, text string) string {
	if ok {
		return ""
	}
	return text
}

func (v *verifiedBundle) files(ctx context.Context, a *app, dir string, m *inference.Manifest) {
	if len(m.Files) == 0 {
		v.note("digests", nil, "the manifest lists no files: a development folder, nothing to compare with")
		return
	}
	var size int64
	for _, f := range m.Files {
		size += f.Size
	}
	meter := a.meter(ctx, size)
	meter.begin("digests")
	wrong, err := checkFiles(dir, m, meter)
	meter.end()
	if err == nil && len(wrong) > 0 {
		err = errors.New(strings.Join(wrong, "; "))
	}
	v.note("digests", err, fmt.Sprintf("%s, %s", plural(len(m.Files), "file"), amount(size)))
}

// contract compares the file's own words with the manifest's, also for an engine that is not here.
func (v *verifiedBundle) contract(b *inference.Bundle, c inference.Candidate) {
	model, err := b.Load(c)
	if err == nil {
		err = inference.CheckFile(c.File, model.Bytes, &c.Spec)
	}
	v.note("contract of "+c.Engine, err, fmt.Sprintf("%s: %s; %s", c.File, inputWords(&c.Spec.Input), outputWords(&c.Spec.Output)))
}

// run tries every engine in a heron-vision of its own: what one of them does to its process costs the others nothing.
func (v *verifiedBundle) run(ctx context.Context, b *inference.Bundle, engine, program string) error {
	quiet := slog.New(slog.DiscardHandler) // what matters of it comes back in the error
	ask, cancel := context.WithTimeout(ctx, accelWithin)
	defer cancel()
	reports, err := vision.Look(ask, vision.ClientConfig{Command: []string{program}, BeatTimeout: accelWithin, Log: quiet})
	if err != nil {
		return fmt.Errorf("look at the engines: %w", err)
	}
	for _, c := range b.Candidates {
		if slices.ContainsFunc(v.Engines, func(e verifiedEngine) bool { return e.Engine == c.Spec.Choice() }) {
			continue
		}
		e := verifiedEngine{Engine: c.Spec.Choice(), File: c.File, Result: verifyAbsent, Reason: "this build knows no such engine"}
		if i := slices.IndexFunc(reports, func(r vision.EngineReport) bool { return r.Engine == c.Engine }); i >= 0 {
			e.Device, e.Reason, e.NextStep = reports[i].Device, reports[i].Reason, reports[i].NextStep
			if reports[i].Usable {
				e.try(ctx, b.Dir, program, quiet)
			}
		}
		v.Engines = append(v.Engines, e)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (e *verifiedEngine) try(ctx context.Context, dir, program string, log *slog.Logger) {
	cfg := vision.ClientConfig{Command: []string{program}, LoadTimeout: classifyLoad, InferenceTimeout: classifyRun, BeatTimeout: classifyBeat, MaxMemory: 2 << 30, Log: log}
	_, err := vision.Try(ctx, cfg, vision.SlotConfig{Slot: "main", Bundle: dir, Engines: []string{e.Engine}, EnforceBudget: true})
	e.Code, e.Reason, e.NextStep = "", "", ""
	var r *inference.Refusal
	switch {
	case err == nil:
		e.Result = verifyOK
	case errors.As(err, &r):
		e.Result, e.Code, e.Reason, e.NextStep = verifyRefused, r.Code, r.What, r.NextStep
		if r.Code == inference.CodeUnavailable {
			e.Result = verifyAbsent
		}
	default:
		e.Result, e.Code, e.Reason = verifyRefused, "ended", err.Error()
	}
}

// verdict is why the exit code is 1, nil for 0.
func (v *verifiedBundle) verdict() error {
	var bad []string
	ran := false
	for _, c := range v.Checks {
		if !c.OK {
			bad = append(bad, c.Check)
		}
	}
	for _, e := range v.Engines {
		ran = ran || e.Result == verifyOK
		if e.Result == verifyRefused {
			bad = append(bad, e.Engine)
		}
	}
	switch {
	case len(bad) > 0:
		return fmt.Errorf("%s is not fit to be used: %s", v.Bundle, strings.Join(bad, ", "))
	case !ran:
		return fmt.Errorf("%s was not run: no engine of it is available here", v.Bundle)
	}
	return nil
}

func (a *app) printVerifiedBundle(v *verifiedBundle) error {
	c := newCanvas(a.out)
	var rows [][]cell
	for _, k := range v.Checks {
		word := cell{"ok", green}
		if !k.OK {
			word = cell{"no", red}
		}
		rows = append(rows, []cell{{k.Check, plain}, word, {k.Detail, plain}})
	}
	lines := c.table(rows)
	if len(v.Engines) > 0 {
		rows = [][]cell{{{"ENGINE", plain}, {"DEVICE", plain}, {"RESULT", plain}, {"WHY, AND WHAT TO DO", plain}}}
		for _, e := range v.Engines {
			color := map[string]string{verifyOK: green, verifyRefused: red, verifyAbsent: faint}[e.Result]
			rows = append(rows, []cell{{e.Engine, plain}, {e.Device, plain}, {e.Result, color}, {strings.TrimPrefix(e.Reason+next(e.NextStep), "; "), plain}})
		}
		lines = append(append(lines, ""), c.table(rows)...)
	}
	return c.redraw(lines)
}

// baseOf is a file's name without folder and ending, fit for a model's name.
func baseOf(path string) string {
	base := filepath.Base(path)
	return plainName(strings.TrimSuffix(base, filepath.Ext(base)))
}

// plainName makes what a bundle may hold of any name.
func plainName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
			return r
		}
		return '_'
	}, s)
	return s[:min(len(s), 90)]
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
