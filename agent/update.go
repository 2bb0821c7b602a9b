package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"heron/inference"
	"heron/internal/atomicfile"
	"heron/internal/fetch"
	"heron/sync/budget"
	"heron/sync/message"
	"heron/sync/models"
	"heron/sync/trust"
	"heron/vision"
)

// updates is how this device gets what it is to run: signed bundles from the repository, files from its own people.
// nil: neither is configured, and models come with the configuration.
type updates struct {
	models  *models.Manager
	meter   *models.Meter
	fetch   *fetch.Client  // nil: only bundles from this device
	budget  *budget.Budget // nil: nothing bounds the transfers
	byPatch patchCount

	mu       sync.Mutex
	expired  string               // why nothing new can be installed
	since    map[string]time.Time // of the step that is reported
	steps    map[string]string
	lostSeen uint64 // processes lost, as last looked at
}

const (
	resolveWithin = 2 * time.Minute
	fetchWithin   = 6 * time.Hour
	tryWithin     = 2 * time.Minute
)

// state is the folder beside the outbox in which this device remembers.
func (a *Agent) state(name string) string {
	return filepath.Join(filepath.Dir(a.conf.Outbox.Path), name)
}

// buildUpdates comes before heron-vision: it says which bundle each slot is to run.
func (a *Agent) buildUpdates() error {
	r := a.conf.Repository
	if r.URL == "" && !r.Unsigned {
		return nil
	}
	u := &updates{meter: models.NewMeter(), since: map[string]time.Time{}, steps: map[string]string{}}
	src, err := a.buildSource(u)
	if err != nil {
		return err
	}
	slots := map[string]string{}
	for _, m := range a.conf.Models {
		slots[m.Slot] = m.Bundle
	}
	u.models, err = models.New(models.Config{Dir: a.state("models"), Slots: slots, Source: src, Eyes: eyes{a}, Watcher: u.meter, Unsigned: r.Unsigned, Busy: a.busy, BusyAtMost: a.conf.Updates.AtMost,
		Now: a.floor.now, Audit: a.auditModel, Changed: a.changed})
	if err != nil {
		return err
	}
	a.updates = u
	return nil
}

// source makes models.Source of signed metadata and the client for files.
type source struct {
	a     *Agent
	u     *updates
	trust *trust.Client // nil: no repository
}

func (a *Agent) buildSource(u *updates) (*source, error) {
	r, s := a.conf.Repository, &source{a: a, u: u}
	if r.URL == "" {
		return s, nil
	}
	root, err := os.ReadFile(r.Root)
	if err != nil {
		return nil, problem("repository.root", "%v; it is the root.json of the repository, shipped with the package or at provisioning", err)
	}
	at, err := url.Parse(r.URL)
	if err != nil {
		return nil, problem("repository.url", "%v", err)
	}
	hosts := append([]string{at.Scheme + "://" + at.Host}, r.Hosts...)
	conf := fetch.Config{Hosts: hosts, AllowLoopbackHTTP: loopback(at), TLS: fetch.TLSFiles{CA: r.CA, Cert: r.Cert, Key: r.Key}, UserAgent: "heron/" + a.opt.Version, Log: a.log, Now: a.floor.now}
	if u.budget, err = a.buildBudget(at); err != nil {
		return nil, err
	}
	if u.budget != nil {
		conf.Budget = u.budget
	}
	u.fetch, err = fetch.New(conf)
	if err != nil {
		return nil, fmt.Errorf("repository: %w", err)
	}
	base := strings.TrimSuffix(r.URL, "/")
	s.trust, err = trust.Open(trust.Config{Dir: a.state("trust"), Root: root, MetadataURL: base + "/metadata", TargetsURL: base + "/targets", Built: trust.BuildTime(), Fetch: u.fetch})
	if err != nil {
		return nil, fmt.Errorf("repository: %w", err)
	}
	a.floor.raise(s.trust.State().Floor)
	return s, nil
}

// Resolve reads a target's size and digest from the signed metadata.
func (s *source) Resolve(ctx context.Context, target string) (models.Offer, error) {
	if s.trust == nil {
		return models.Offer{}, fmt.Errorf("%s: no repository is configured; set repository.url and repository.root", target)
	}
	ctx, cancel := context.WithTimeout(ctx, resolveWithin)
	defer cancel()
	err := s.trust.Refresh(ctx)
	s.a.floor.raise(s.trust.State().Floor) // waits for what trust is doing
	s.u.note(err)
	if err != nil {
		return models.Offer{}, fmt.Errorf("the repository's metadata: %w", err)
	}
	t, err := s.trust.Target(ctx, target)
	if err != nil {
		return models.Offer{}, err
	}
	if t.SHA256 == "" {
		return models.Offer{}, &models.Refusal{Check: models.CheckTerms, Reason: target + " is signed without a SHA-256"}
	}
	return models.Offer{Target: target, Size: t.Size, SHA256: t.SHA256, Manifest: models.SignedManifest(t.Custom), Custom: t.Custom}, nil
}

// note remembers that nothing new can be installed because the metadata has expired: an alarm, and no more. It ends with metadata that is
// good: a server that is not reached says nothing.
func (u *updates) note(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case err == nil:
		u.expired = ""
	case errors.Is(err, trust.ErrExpired):
		u.expired = err.Error()
	}
}

// stale is why nothing new can be installed; empty: it can, as far as is known.
func (u *updates) stale() string {
	if u == nil {
		return ""
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.expired
}

// eyes makes models.Eyes of heron-vision.
type eyes struct{ a *Agent }

// slotConfig is a slot's configuration with another bundle.
func (a *Agent) slotConfig(slot, dir string) vision.SlotConfig {
	for _, m := range a.conf.Models {
		if m.Slot == slot {
			return m.vision(dir)
		}
	}
	return vision.SlotConfig{Slot: slot, Bundle: dir}
}

// Try runs the bundle in a heron-vision of its own, against its golden pictures and its budget.
func (e eyes) Try(ctx context.Context, slot string, b models.Bundle) (models.Trial, error) {
	ctx, cancel := context.WithTimeout(ctx, tryWithin)
	defer cancel()
	cfg := e.a.lookConf
	cfg.LoadTimeout, cfg.InferenceTimeout, cfg.MaxMemory = e.a.conf.Vision.Load, e.a.conf.Vision.Inference, int64(e.a.conf.Vision.MaxMemory)
	s := e.a.slotConfig(slot, b.Dir)
	held := e.a.held(s)
	s.EnforceBudget = held == ""
	st, err := vision.Try(ctx, cfg, s)
	if r := (*inference.Refusal)(nil); held != "" && errors.As(err, &r) && r.Code == inference.CodeUnavailable {
		e.a.log.Info("a model is judged beside the live one only, whose process has the accelerator", "slot", slot, "engine", held, "reason", r.What)
		return models.Trial{Engine: held}, nil
	}
	if err != nil {
		return models.Trial{}, fault(verdict(err), st.LastCause)
	}
	t := models.Trial{}
	for _, b := range st.Slots {
		t.Model, t.Engine = strings.SplitN(b.Model, "#", 2)[0], b.Engine
	}
	return t, nil
}

// held is the engine that this bundle may run on and that the live process has on an accelerator; empty: none. An accelerator serves one
// process: a trial in another finds it busy, and judges the model on what is left, which its budget was not made for. The rest of the verdict is
// then Stage's, in the live process.
func (a *Agent) held(s vision.SlotConfig) string {
	raw, err := atomicfile.Read(filepath.Join(s.Bundle, "manifest.json"))
	if err != nil {
		return "" // the trial says why
	}
	m, err := inference.ParseManifest(raw)
	if err != nil {
		return ""
	}
	mayRun := func(engine string) bool {
		return slices.ContainsFunc(m.Engines, func(e inference.EngineEntry) bool { return e.Engine == engine }) &&
			(len(s.Engines) == 0 || slices.ContainsFunc(s.Engines, func(entry string) bool {
				kind, _, err := inference.ParseChoice(entry)
				return err == nil && kind == engine
			}))
	}
	for _, live := range a.vision.Stats().Slots {
		if live.Accelerated() && mayRun(live.Engine) {
			return live.Engine
		}
	}
	return ""
}

// verdict tells what is the model's fault from what is the device's.
func verdict(err error) error {
	r := (*inference.Refusal)(nil)
	switch {
	case errors.Is(err, vision.ErrNotRunning):
		return fmt.Errorf("%w: %w", models.ErrUnavailable, err)
	case !errors.As(err, &r):
		return err
	case r.Code == inference.CodeUnavailable || r.Code == inference.CodeEngine:
		return fmt.Errorf("%w: %s", models.ErrUnavailable, r.What)
	}
	no := &models.Refusal{Reason: r.What, Check: checkOf(r.Code)}
	if r.Code == inference.CodeGolden {
		no.Reason += "; the weights or the label file are not those it was packed with, or this engine computes otherwise"
	}
	return no
}

// checkOf is a code of heron-vision's in the words of refused models.
func checkOf(code string) string {
	switch code {
	case inference.CodeHung:
		return models.CheckHang
	case inference.CodeNotFinite:
		return models.CheckNotFinite
	case inference.CodeOverBudget: // of time or of memory: the reason says which
		return "budget"
	}
	return code
}

// fault says what a trial that came to no verdict looked like, by the cause for which its process was lost.
func fault(err error, cause string) error {
	if r := (*models.Refusal)(nil); errors.As(err, &r) || errors.Is(err, models.ErrUnavailable) {
		return err
	}
	switch cause {
	case vision.CauseExit:
		return &models.Fault{Check: models.CheckCrash, Err: err}
	case vision.CauseBeat, vision.CauseLoad, vision.CauseInference:
		return &models.Fault{Check: models.CheckHang, Err: err}
	case vision.CauseMemory:
		return &models.Fault{Check: models.CheckMemory, Err: err}
	}
	return err
}

// Stage loads the bundle beside the live model.
func (e eyes) Stage(ctx context.Context, slot string, b models.Bundle, share float64) error {
	ctx, cancel := context.WithTimeout(ctx, tryWithin)
	defer cancel()
	s := e.a.slotConfig(slot, b.Dir)
	s.EnforceBudget = e.a.held(s) != "" // nobody else has measured it on that engine
	if _, err := e.a.vision.Stage(ctx, s, share); err != nil {
		return verdict(err)
	}
	return nil
}

// Promote changes the model between two frames.
func (e eyes) Promote(ctx context.Context, slot string) error {
	ctx, cancel := context.WithTimeout(ctx, tryWithin)
	defer cancel()
	return e.a.vision.Promote(ctx, slot)
}

// Discard drops what is staged.
func (e eyes) Discard(slot string) { e.a.vision.Discard(slot) }

// Replace gives the slot another bundle by a new process.
func (e eyes) Replace(slot string, b models.Bundle) error {
	e.a.vision.Replace(e.a.slotConfig(slot, b.Dir))
	return nil
}

// auditModel makes a record of what the models did; the slot stands before the detail. Its time is that of the act: told again after a
// restart, since nobody knows whether it was, it is the same record but for its number.
func (a *Agent) auditModel(e models.Entry) {
	at := message.Now()
	if ago := at.T.Sub(e.When); ago > 0 && !e.When.IsZero() {
		at = message.Stamp{T: e.When, Mono: max(0, at.Mono-ago)}
	}
	r := message.AuditRecord{Stamp: at, Who: e.Who, What: e.What, Target: e.Target, Rev: int(e.Rev), Digest: e.Digest, Result: e.Result, Detail: e.Detail}
	if e.Slot != "" {
		r.Detail = strings.TrimSuffix("slot "+e.Slot+": "+e.Detail, ": ")
	}
	a.log.Info("model", "what", e.What, "slot", e.Slot, "target", e.Target, "result", e.Result, "detail", e.Detail)
	a.outbox.Put(r)
}

// changed has the reported document sent soon.
func (a *Agent) changed() {
	if a.uplink != nil {
		a.uplink.Changed()
	}
}

// watchModels feeds the meter with what observations do not say. It is called once a second, without a.mu.
func (a *Agent) watchModels(s vision.ClientStats) {
	u := a.updates
	if u == nil {
		return
	}
	for _, m := range a.conf.Models {
		if why, blamed := a.vision.CandidateLost(m.Slot); why != "" {
			u.meter.LostCandidate(m.Slot, why, blamed)
		}
	}
	for _, r := range s.Refusals {
		if r.Code == inference.CodeDigest || r.Code == inference.CodeBundle {
			_ = u.models.Damaged(r.Slot) // the only error is a slot that is not there
		}
	}
	if s.Restarts > u.lostSeen {
		u.lostSeen = s.Restarts
		for _, m := range a.conf.Models {
			if s.LastSlot == m.Slot || s.LastOwn { // only one on probation answers for it: it is what is new
				u.meter.LostProcess(m.Slot, s.LastReason)
			}
		}
	}
}

// lookOf is what a model's judge wants to know of one answer; code is that of a failure.
func lookOf(top []inference.Score, latency float64, failed, code string) models.Look {
	l := models.Look{LatencyMS: latency, Failed: failed != "", NotFinite: code == inference.CodeNotFinite, Hung: code == inference.CodeHung}
	if len(top) > 0 {
		l.Label, l.Score = top[0].Label, top[0].Score
	}
	return l
}

// compared takes what a candidate said beside the live model.
func (a *Agent) compared(s vision.Shadow) {
	if a.updates != nil {
		a.updates.meter.Compared(s.Slot, lookOf(s.Live, s.LiveMS, "", ""), lookOf(s.Top, s.LatMS, s.Error, s.Code))
	}
}

// loopback says whether a URL's host is this machine.
func loopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}
