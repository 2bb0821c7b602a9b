package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"heron/agent/status"
	"heron/sync/models"
)

const (
	maxIncoming  = 1 << 30  // bytes of an archive
	keepIncoming = 64 << 20 // bytes of the disk that stay free
	freshFor     = 5 * time.Minute
)

// ControlModels is what the local endpoint says of the models of this device.
type ControlModels struct {
	Slots     []ControlSlot    `json:"slots"`
	Refused   []ControlRefused `json:"refused"`
	HoldUntil time.Time        `json:"hold_until,omitzero"`
	HoldS     float64          `json:"hold_s,omitempty"` // still to go
	Unsigned  bool             `json:"unsigned"`         // bundles that nobody signed are allowed
	Budget    *status.Budget   `json:"budget,omitempty"` // what updates cost; nil: nothing bounds it
}

// ControlSlot is one slot: models.SlotState in JSON.
type ControlSlot struct {
	Slot       string          `json:"slot"`
	Active     *models.Bundle  `json:"active,omitempty"`
	Previous   *models.Bundle  `json:"previous,omitempty"`
	Staged     *models.Bundle  `json:"staged,omitempty"`
	Target     string          `json:"target,omitempty"` // of Staged
	Step       models.Step     `json:"step,omitempty"`
	Doing      string          `json:"doing,omitempty"`
	Percent    int             `json:"percent,omitempty"`
	Deferred   string          `json:"deferred,omitempty"`
	Error      string          `json:"error,omitempty"`
	RetryInS   float64         `json:"retry_in_s,omitempty"`
	Rev        int64           `json:"rev,omitempty"`
	ProbationS float64         `json:"probation_s,omitempty"` // still to go
	Last       *models.Outcome `json:"last,omitempty"`
	Trouble    string          `json:"trouble,omitempty"`
}

// ControlRefused is a digest that this device does not try again.
type ControlRefused struct {
	Digest string `json:"digest"`
	models.Refused
}

// ControlOrder is what an order holds; which fields, its kind says.
type ControlOrder struct {
	Slot string `json:"slot,omitempty"`
	For  string `json:"for,omitempty"`  // of hold: a duration
	What string `json:"what,omitempty"` // of forget: a digest (eight digits will do) or a target
}

// ControlTaken answers an order: the slot as it was when the order came.
type ControlTaken struct {
	Target    string       `json:"target,omitempty"` // of activate
	Before    *ControlSlot `json:"before,omitempty"`
	HoldUntil time.Time    `json:"hold_until,omitzero"`
	Forgotten int          `json:"forgotten,omitempty"`
}

// ControlError is an order that was not taken: one line with the next step.
type ControlError struct {
	Code   string `json:"code"`
	Text   string `json:"error"`
	status int
}

func (e *ControlError) Error() string { return e.Text }

func refusal(status int, code, format string, args ...any) *ControlError {
	return &ControlError{Code: code, Text: fmt.Sprintf(format, args...), status: status}
}

func (a *Agent) controlHandler() http.Handler {
	mux := http.NewServeMux()
	for pattern, do := range map[string]func(http.ResponseWriter, *http.Request) (any, error){
		"GET /v1/models":           a.controlList,
		"POST /v1/models/activate": a.controlActivate,
		"POST /v1/models/rollback": a.controlRollback,
		"POST /v1/models/hold":     a.controlHold,
		"POST /v1/models/release":  a.controlRelease,
		"POST /v1/models/forget":   a.controlForget,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			var out any
			err := error(refusal(http.StatusConflict, "not-configured", "this device takes its models from its configuration only; set repository.url for signed ones, or repository.unsigned: true for files, and restart heron"))
			if a.updates != nil {
				out, err = do(w, r)
			}
			if err != nil { // who is still writing would see a broken pipe instead of the reason
				_, _ = io.CopyN(io.Discard, r.Body, 8<<20)
			}
			answer(w, out, err)
		})
	}
	mux.HandleFunc("GET /v1/diag", a.controlDiag)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answer(w, nil, refusal(http.StatusNotFound, "unknown", "this heron knows no %s %s; the command is of another version", r.Method, r.URL.Path))
	})
	return mux
}

func answer(w http.ResponseWriter, out any, err error) {
	status := http.StatusOK
	if err != nil {
		e := (*ControlError)(nil)
		if !errors.As(err, &e) {
			e = refusal(http.StatusConflict, "refused", "%s", err.Error())
		}
		status, out = e.status, e
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out) // who has left needs no answer
}

// order reads a request's body strictly.
func order(w http.ResponseWriter, r *http.Request) (o ControlOrder, err error) {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, controlBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return o, refusal(http.StatusBadRequest, "args", "the order cannot be read: %v", err)
	}
	return o, nil
}

func (a *Agent) controlList(http.ResponseWriter, *http.Request) (any, error) {
	m := a.updates.models
	out := &ControlModels{Slots: []ControlSlot{}, Refused: []ControlRefused{}, Unsigned: a.conf.Repository.Unsigned, HoldUntil: a.holdUntil(), HoldS: m.Held().Seconds(), Budget: a.budgetState()}
	for _, s := range m.State() {
		out.Slots = append(out.Slots, *controlSlot(s))
	}
	for _, r := range m.Refused() {
		out.Refused = append(out.Refused, ControlRefused{r.Digest, r})
	}
	return out, nil
}

// holdUntil is when a technician's hold ends; zero: there is none.
func (a *Agent) holdUntil() time.Time {
	if a.updates == nil || a.updates.models.Held() == 0 {
		return time.Time{}
	}
	return time.Now().Add(a.updates.models.Held()).UTC().Truncate(time.Second)
}

func controlSlot(s models.SlotState) *ControlSlot {
	out := &ControlSlot{Slot: s.Slot, Target: s.Target, Step: s.Step, Doing: s.Doing, Percent: s.Percent, Deferred: s.Deferred, Error: s.Error,
		RetryInS: s.RetryIn.Seconds(), Rev: s.Doc, ProbationS: s.Probation.Seconds(), Trouble: s.Trouble}
	if !s.Active.IsNone() {
		out.Active = &s.Active
	}
	if !s.Previous.IsNone() {
		out.Previous = &s.Previous
	}
	if s.Staged != (models.Bundle{}) {
		out.Staged = &s.Staged
	}
	if s.Last.Step != "" {
		out.Last = &s.Last
	}
	return out
}

// before is the slot as it is now; an unknown one is an error.
func (a *Agent) before(slot string) (*ControlSlot, error) {
	var names []string
	for _, s := range a.updates.models.State() {
		if s.Slot == slot {
			return controlSlot(s), nil
		}
		names = append(names, s.Slot)
	}
	return nil, refusal(http.StatusNotFound, "no-slot", "there is no model slot %q; the configuration names %s", slot, strings.Join(names, ", "))
}

// controlActivate takes an archive in the body, as the service may not be able to read the file where it lies.
func (a *Agent) controlActivate(w http.ResponseWriter, r *http.Request) (any, error) {
	q := r.URL.Query()
	if !a.conf.Repository.Unsigned {
		return nil, refusal(http.StatusForbidden, "unsigned", "bundles that nobody signed are not allowed on this device; set repository.unsigned: true and restart heron, or sign it and use heron fleet push")
	}
	was, err := a.before(q.Get("slot"))
	if err != nil {
		return nil, err
	}
	shadow, err1 := time.ParseDuration(q.Get("shadow"))
	probation, err2 := time.ParseDuration(q.Get("probation"))
	if err := errors.Join(err1, err2); err != nil || shadow < 0 || probation < 0 {
		return nil, refusal(http.StatusBadRequest, "args", "shadow and probation are durations such as 0s and 15m, not %q and %q", q.Get("shadow"), q.Get("probation"))
	}
	path, err := a.receive(w, r, q.Get("name"))
	if err != nil {
		return nil, err
	}
	if err := a.updates.models.Activate(was.Slot, path, technician(r), shadow, probation); err != nil {
		return nil, err
	}
	return ControlTaken{Target: "file:" + filepath.Base(path), Before: was}, nil
}

// receive keeps the body under its digest and its name. It appears whole or not at all.
func (a *Agent) receive(w http.ResponseWriter, r *http.Request, name string) (string, error) {
	name = strings.Map(func(c rune) rune {
		if c > ' ' && c < 0x7f && c != '/' {
			return c
		}
		return '_'
	}, filepath.Base(name))
	if name == "." || name == "" || name == ".." || name == "_" || len(name) > 200 {
		return "", refusal(http.StatusBadRequest, "args", "the archive has no name, or one of more than 200 bytes; rename it")
	}
	in := a.state("incoming")
	if err := os.MkdirAll(in, 0o750); err != nil {
		return "", fmt.Errorf("keep the archive: %w", err)
	}
	if err := roomFor(in, r.ContentLength); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(in, ".part-")
	if err != nil {
		return "", fmt.Errorf("keep the archive: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	h := sha256.New()
	body := &patient{http.MaxBytesReader(w, r.Body, maxIncoming), http.NewResponseController(w)}
	if _, err := io.Copy(io.MultiWriter(f, h), body); err != nil {
		return "", refusal(http.StatusBadRequest, "incomplete", "the archive did not come whole: %v; try again", err)
	}
	if err := f.Sync(); err != nil {
		return "", fmt.Errorf("keep the archive: %w", err)
	}
	path := filepath.Join(in, hex.EncodeToString(h.Sum(nil))[:16], name)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return "", fmt.Errorf("keep the archive: %w", err)
	}
	now := time.Now()
	_ = os.Chtimes(filepath.Dir(path), now, now) // an older one of the same digest becomes fresh
	return path, os.Rename(f.Name(), path)
}

func roomFor(dir string, size int64) error {
	var st syscall.Statfs_t
	if size <= 0 || size > maxIncoming {
		return refusal(http.StatusBadRequest, "size", "the archive has %d bytes; expected 1 to %d", size, maxIncoming)
	}
	if err := syscall.Statfs(dir, &st); err != nil {
		return fmt.Errorf("keep the archive: %w", err)
	}
	if free := int64(st.Bavail) * int64(st.Bsize); free < size+keepIncoming {
		return refusal(http.StatusInsufficientStorage, "disk", "the archive needs %d MB and 64 MB that stay free, and the disk of %s has %d MB; make room", size>>20+1, dir, free>>20)
	}
	return nil
}

// patient reads a body as long as something comes.
type patient struct {
	io.Reader
	c *http.ResponseController
}

func (p *patient) Read(b []byte) (int, error) {
	until := time.Now().Add(controlPatience)
	if err := errors.Join(p.c.SetReadDeadline(until), p.c.SetWriteDeadline(until.Add(controlPatience))); err != nil {
		return 0, err
	}
	return p.Reader.Read(b)
}

// sweepIncoming removes archives that no slot is on its way with. A fresh one may be a wish that is not taken yet.
func (a *Agent) sweepIncoming(now time.Time) {
	if a.updates == nil {
		return
	}
	wanted := map[string]bool{}
	for _, s := range a.updates.models.State() {
		wanted[strings.TrimPrefix(s.Target, "file:")] = true
	}
	if err := removeIncoming(a.state("incoming"), wanted, now); err != nil {
		a.log.Warn("the folder of archives from this device cannot be read", "error", err)
	}
}

func removeIncoming(in string, wanted map[string]bool, now time.Time) error {
	all, err := os.ReadDir(in)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, d := range all {
		info, err := d.Info()
		if err != nil || now.Sub(info.ModTime()) < freshFor {
			continue
		}
		keep := false
		files, _ := os.ReadDir(filepath.Join(in, d.Name())) // of a half-received file: none
		for _, f := range files {
			keep = keep || wanted[f.Name()]
		}
		if !keep {
			_ = os.RemoveAll(filepath.Join(in, d.Name())) // or in a minute
		}
	}
	return err
}

func (a *Agent) controlRollback(w http.ResponseWriter, r *http.Request) (any, error) {
	o, err := order(w, r)
	if err != nil {
		return nil, err
	}
	was, err := a.before(o.Slot)
	if err != nil {
		return nil, err
	}
	return ControlTaken{Before: was}, a.updates.models.Rollback(o.Slot, technician(r))
}

func (a *Agent) controlHold(w http.ResponseWriter, r *http.Request) (any, error) {
	o, err := order(w, r)
	if err != nil {
		return nil, err
	}
	d, err := time.ParseDuration(o.For)
	if err != nil || d <= 0 || d > 7*24*time.Hour {
		return nil, refusal(http.StatusBadRequest, "args", "hold for %s; expected a duration such as 2h, at most 168h", strconv.Quote(o.For))
	}
	if err := a.updates.models.Hold(d, technician(r)); err != nil {
		return nil, err
	}
	a.changed()
	return ControlTaken{HoldUntil: a.holdUntil()}, nil
}

func (a *Agent) controlRelease(_ http.ResponseWriter, r *http.Request) (any, error) {
	defer a.changed()
	return ControlTaken{}, a.updates.models.Release(technician(r))
}

func (a *Agent) controlForget(w http.ResponseWriter, r *http.Request) (any, error) {
	o, err := order(w, r)
	if err != nil {
		return nil, err
	}
	what, found := o.What, map[string]bool{}
	for _, f := range a.updates.models.Refused() {
		if len(o.What) >= 8 && strings.HasPrefix(f.Digest, o.What) {
			what, found[f.Digest] = f.Digest, true
		}
	}
	if len(found) > 1 {
		return nil, refusal(http.StatusConflict, "ambiguous", "%d refused digests begin with %s; give more digits", len(found), o.What)
	}
	n, err := a.updates.models.Forget(what, technician(r))
	if err == nil && n == 0 {
		err = refusal(http.StatusNotFound, "not-refused", "nothing is refused under %q; heron model list shows what is", o.What)
	}
	a.changed()
	return ControlTaken{Forgotten: n}, err
}
