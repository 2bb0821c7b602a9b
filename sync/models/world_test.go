package models

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// published packs a bundle of this name, whose manifest names every file. Behaviour of the world's models goes by the name.
func published(t testing.TB, name, version string) []byte {
	t.Helper()
	files := map[string]string{"labels.txt": "ok\nscratched\n", "model.onnx": strings.Repeat(name+version, 5000),
		"baseline.json": `{"v":1,"n":2000,"mean_confidence":0.95,"labels":{"ok":1000,"scratched":1000}}`}
	files[manifestName] = manifestOf(name, version, files)
	return pack(t, bundle(t, files))
}

func manifestOf(name, version string, files map[string]string) string {
	m := map[string]any{"v": 1, "name": name, "version": version, "labels": "labels.txt", "baseline": "baseline.json", "budget": map[string]any{"latency_ms": 100, "rss_mb": 300}}
	var list []manifestFile
	for p, c := range files {
		sum := sha256.Sum256([]byte(c))
		list = append(list, manifestFile{p, int64(len(c)), hex.EncodeToString(sum[:])})
	}
	slices.SortFunc(list, func(a, b manifestFile) int { return strings.Compare(a.Path, b.Path) })
	m["files"] = list
	b, _ := json.Marshal(m)
	return string(b)
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// world is a repository, a heron-vision and its models, each behaving as its name says.
type world struct {
	t    testing.TB
	mu   sync.Mutex
	repo map[string][]byte
	said map[string]Offer // instead of what is true

	resolveErr, fetchErr error
	fetches              int
	onFetch              func(ctx context.Context, f Fetching) error

	live, staged map[string]Bundle
	since        map[string]time.Time // live since
	beside       map[string]time.Time // staged since
	noFrames     bool
	hurry        int // frames for each that would have come
	unavailable  bool
	promoteErr   error
	promoted     bool // although promoteErr
	replaceErr   error
	tried        []string
	replaced     []string
	wrong        []string // violations
	m            *Manager
	audit        []Entry
}

func newWorld(t testing.TB, names ...string) *world {
	repo := map[string][]byte{}
	for _, n := range append(names, "v1", "v2", "v3") {
		repo[n+"/1"] = published(t, n, "1")
	}
	return newWorldOf(t, repo)
}

func newWorldOf(t testing.TB, repo map[string][]byte) *world {
	return &world{t: t, repo: repo, said: map[string]Offer{}, live: map[string]Bundle{}, staged: map[string]Bundle{},
		since: map[string]time.Time{}, beside: map[string]time.Time{}}
}

func (w *world) Resolve(ctx context.Context, target string) (Offer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.resolveErr != nil {
		return Offer{}, w.resolveErr
	}
	b, ok := w.repo[target]
	if !ok {
		return Offer{}, fs.ErrNotExist
	}
	if o, ok := w.said[target]; ok {
		return o, nil
	}
	return Offer{Size: int64(len(b)), SHA256: digest(b)}, ctx.Err()
}

func (w *world) Fetch(ctx context.Context, f Fetching) error {
	w.mu.Lock()
	w.fetches++
	err, on, b := w.fetchErr, w.onFetch, w.repo[f.Offer.Target]
	w.mu.Unlock()
	if err != nil {
		return err
	}
	if on != nil {
		return on(ctx, f)
	}
	f.Progress(int64(len(b)/2), int64(len(b)))
	return os.WriteFile(f.Path, b, 0o644)
}

func (w *world) fetched() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fetches
}

// given checks what heron-vision is given: whole, verified, not refused.
func (w *world) given(what string, b Bundle) {
	if b.IsNone() || b.Digest == "" {
		return
	}
	if _, err := checkFolder(b.Dir, b.Manifest, false); err != nil || b.Manifest == "" {
		w.wrong = append(w.wrong, fmt.Sprintf("%s %s: %v", what, b.Target, err))
	}
	if archive, ok := w.repo[b.Target]; ok && digest(archive) != b.Digest {
		w.wrong = append(w.wrong, fmt.Sprintf("%s %s: not what was signed", what, b.Target))
	}
	if w.m != nil && what != "replace" {
		w.m.mu.Lock()
		if _, ok := w.m.refused[b.Digest]; ok {
			w.wrong = append(w.wrong, fmt.Sprintf("%s %s: refused", what, b.Target))
		}
		w.m.mu.Unlock()
	}
}

func name(b Bundle) string { n, _, _ := strings.Cut(b.Model, "@"); return n }

func (w *world) Try(ctx context.Context, slot string, b Bundle) (Trial, error) {
	w.mu.Lock()
	w.given("try", b)
	w.tried = append(w.tried, b.Target)
	unavailable := w.unavailable
	w.mu.Unlock()
	if unavailable {
		return Trial{}, fmt.Errorf("heron-vision does not start: %w", ErrUnavailable)
	}
	t := Trial{Model: b.Model, Engine: "onnx", LatencyMS: 5, RSSMB: 80}
	switch name(b) {
	case "trial-slow":
		t.LatencyMS = 250
	case "trial-large":
		t.RSSMB = 700
	case "trial-labels":
		return Trial{}, fmt.Errorf("golden: %w", &Refusal{Check: "golden", Reason: "golden/0.png is scratched, expected ok"})
	case "trial-nan":
		return Trial{}, &Refusal{Check: CheckNotFinite, Reason: "golden/0.png: the answer holds NaN"}
	case "trial-crash":
		return Trial{}, fmt.Errorf("try: %w", &Fault{Check: CheckCrash, Err: errors.New("heron-vision was ended by signal 11")})
	case "trial-hang":
		select {
		case <-time.After(20 * time.Second):
			return Trial{}, &Fault{Check: CheckHang, Err: errors.New("no answer within 20 s")}
		case <-ctx.Done():
			return Trial{}, ctx.Err()
		}
	}
	return t, nil
}

func (w *world) Stage(ctx context.Context, slot string, b Bundle, share float64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.given("stage", b)
	if w.live[slot].IsNone() {
		w.wrong = append(w.wrong, "staged beside no model")
	}
	w.staged[slot], w.beside[slot] = b, time.Now()
	return ctx.Err()
}

func (w *world) Promote(ctx context.Context, slot string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	b, ok := w.staged[slot]
	if !ok {
		w.wrong = append(w.wrong, "promoted what was not staged")
	}
	if w.promoteErr == nil || w.promoted {
		w.given("promote", b)
		w.live[slot], w.since[slot] = b, time.Now()
		delete(w.staged, slot)
	}
	return w.promoteErr
}

func (w *world) Discard(slot string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.staged, slot)
}

func (w *world) Replace(slot string, b Bundle) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.replaceErr != nil {
		return w.replaceErr
	}
	w.given("replace", b)
	w.replaced = append(w.replaced, b.Target)
	w.live[slot], w.since[slot] = b, time.Now()
	delete(w.staged, slot)
	return nil
}

// sample is how a model of this name does on frames at 30 a second.
func (w *world) sample(model, phase string, d time.Duration) Sample {
	n := int(d/(33*time.Millisecond)) * max(w.hurry, 1)
	if w.hurry > 0 {
		n = int(d * time.Duration(w.hurry) / (33 * time.Millisecond))
	}
	if w.noFrames {
		n = 0
	}
	s := Sample{Frames: n, Confidence: 0.95, P95MS: 10, Labels: map[string]int{"ok": n - n/10, "scratched": n / 10}}
	switch model {
	case phase + "-worse":
		s.Confidence = 0.4
	case phase + "-unknown":
		s.Unknown = n / 2
	case phase + "-landslide":
		s.Labels = map[string]int{"ok": n / 20, "scratched": n - n/20}
	case phase + "-slow":
		s.P95MS = 300
	case phase + "-nan":
		s.Errors, s.NotFinite = n/2, n/2
	}
	return s
}

func (w *world) Shadow(slot string) ShadowStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	b, ok := w.staged[slot]
	if !ok {
		return ShadowStats{Lost: "nothing is staged"}
	}
	d := time.Since(w.beside[slot])
	st := ShadowStats{Live: w.sample(name(w.live[slot]), "live", d), Candidate: w.sample(name(b), "shadow", d)}
	st.Agreed = st.Candidate.Frames
	if name(b) == "shadow-disagrees" {
		st.Agreed /= 2
	}
	if name(b) == "shadow-crash" && d > time.Second {
		st.Lost, st.Blamed = "signal 11", true
	}
	return st
}

func (w *world) Live(slot string) LiveStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	st := LiveStats{Sample: w.sample(name(w.live[slot]), "live", time.Since(w.since[slot]))}
	if name(w.live[slot]) == "live-crash" {
		st.Losses, st.LastLoss = int(time.Since(w.since[slot])/(10*time.Second)), "signal 11"
	}
	return st
}

func (w *world) Reset(slot string, shadow bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if shadow {
		w.beside[slot] = time.Now()
	} else {
		w.since[slot] = time.Now()
	}
}

// config is a Manager's in this world.
func (w *world) config(dir string) Config {
	return Config{Dir: dir, Slots: map[string]string{"main": ""}, Source: w, Eyes: w, Watcher: w, KeepFree: 1 << 20,
		Audit: func(e Entry) { w.mu.Lock(); w.audit = append(w.audit, e); w.mu.Unlock() }}
}

// device is a Manager at work.
type device struct {
	*Manager
	w    *world
	stop func()
}

// start boots a device as the agent does: Boot, heron-vision with what it says, Run.
func (w *world) start(cfg Config, adjust func(*Manager)) *device {
	w.t.Helper()
	m, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	if adjust != nil {
		adjust(m)
	}
	w.mu.Lock()
	w.m = m
	w.mu.Unlock()
	boot := m.Boot()
	w.mu.Lock()
	for s, b := range boot {
		w.given("boot", b)
		w.live[s], w.since[s] = b, time.Now()
		delete(w.staged, s)
	}
	w.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	stopped := false
	return &device{m, w, func() {
		if !stopped {
			stopped = true
			cancel()
			<-done
		}
	}}
}

func (d *device) state() SlotState { return d.State()[0] }

// until waits for a state; in a bubble the clock is its own.
func (d *device) until(what string, limit time.Duration, ok func(SlotState) bool) SlotState {
	d.w.t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(d.pace.tick) {
		s := d.state()
		if ok(s) {
			return s
		}
		if time.Now().After(end) {
			d.w.t.Fatalf("not within %v: %s; it is %+v", limit, what, s)
		}
	}
}

func ended(step Step, target string) func(SlotState) bool {
	return func(s SlotState) bool {
		return s.Target == "" && s.Probation == 0 && s.Last.Step == step && s.Last.Target == target
	}
}

// well checks what must hold at any time: what runs is whole and what the journal says, and heron-vision has it.
func (d *device) well() {
	d.w.t.Helper()
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	for _, v := range d.w.wrong {
		d.w.t.Error(v)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for n, s := range d.slots {
		if live := d.w.live[n]; live.Digest != s.running.Digest {
			d.w.t.Errorf("heron-vision runs %q, the slot says %q", live.Target, s.running.Target)
		}
	}
}

// settle installs a first model.
func (d *device) settle(target string) {
	d.w.t.Helper()
	if err := d.Offer("main", Wish{Target: target, Rev: d.state().Rev + 1}); err != nil {
		d.w.t.Fatal(err)
	}
	d.until("settled "+target, time.Hour, ended(StepConfirmed, target))
}

func onDisk(t testing.TB, dir string) (digests []string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "sha256", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		digests = append(digests, filepath.Base(f))
	}
	return digests
}
