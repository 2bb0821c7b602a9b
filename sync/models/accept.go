package models

import (
	"encoding/json"
	"fmt"
	"math"
)

// Acceptance is what a model must hold on this device, in shadow and on probation. A field that is 0 or absent has the standard value.
// It comes with the signed custom data of the target: {"acceptance":{"confidence":0.8}}.
type Acceptance struct {
	ErrorRate   float64 `json:"error_rate,omitempty"`   // most frames that may fail or hold no finite number, beyond the live model's share; 0.02
	Agreement   float64 `json:"agreement,omitempty"`    // least share of shadow frames with the live model's top answer; absent: told, not judged
	SlowerBy    float64 `json:"slower_by,omitempty"`    // most p95 latency as a multiple of the live model's, where the budget is not larger; 1.5
	Confidence  float64 `json:"confidence,omitempty"`   // least mean confidence as a share of the live model's or the baseline's; 0.7
	Unknown     float64 `json:"unknown,omitempty"`      // most unknown answers beyond the live model's share; 0.25
	PSI         float64 `json:"psi,omitempty"`          // most drift of the answers from the live model's on this device; 1.0
	BaselinePSI float64 `json:"baseline_psi,omitempty"` // the same from baseline.json; absent: told, not judged, as a line in order has other shares than the training set
	Losses      int     `json:"losses,omitempty"`       // processes that the model may cost in probation before it goes: at this many; 2
	Frames      int     `json:"frames,omitempty"`       // compared frames after which a shadow run may end early; 200
}

// Custom is what Heron reads of a target's signed custom data; other fields are for others.
type Custom struct {
	Unpacked   int64      `json:"unpacked,omitempty"` // bytes of all files; absent: four times the archive is reserved, and is the limit
	Acceptance Acceptance `json:"acceptance,omitzero"`
	Manifest   string     `json:"manifest,omitempty"` // SHA-256 of manifest.json, hex: what a patch must come to
	Deltas     []Delta    `json:"deltas,omitempty"`
}

// SignedManifest is the digest of manifest.json in a target's custom data, or empty: without it there are no patches.
func SignedManifest(custom json.RawMessage) string {
	c, _ := parseCustom(custom) // told when the room is made
	if !isDigest(c.Manifest) {
		return ""
	}
	return c.Manifest
}

// Bounds on judging: fewer frames say nothing.
const (
	fewFrames    = 20  // for errors
	someFrames   = 50  // for means and p95
	manyFrames   = 200 // for histograms
	agreeEnough  = 0.98
	latencySlack = 5 // ms: the noise of a small model
)

// parseCustom reads and checks the custom data of a target; nil has none.
func parseCustom(b json.RawMessage) (Custom, error) {
	c := Custom{}
	if len(b) > 0 && string(b) != "null" {
		if err := json.Unmarshal(b, &c); err != nil {
			return Custom{}, fmt.Errorf("custom data of the target: %w", err)
		}
	}
	a := &c.Acceptance
	for name, v := range map[string]float64{"error_rate": a.ErrorRate, "agreement": a.Agreement, "unknown": a.Unknown, "confidence": a.Confidence} {
		if !(v >= 0 && v <= 1) {
			return Custom{}, fmt.Errorf("custom data of the target: acceptance.%s is %v; expected 0 to 1", name, v)
		}
	}
	for name, v := range map[string]float64{"slower_by": a.SlowerBy, "psi": a.PSI, "baseline_psi": a.BaselinePSI, "losses": float64(a.Losses), "frames": float64(a.Frames)} {
		if !(v >= 0 && v <= 1e6) {
			return Custom{}, fmt.Errorf("custom data of the target: acceptance.%s is %v; expected 0 to a million", name, v)
		}
	}
	if c.Unpacked < 0 {
		return Custom{}, fmt.Errorf("custom data of the target: unpacked is %d; expected a number of bytes", c.Unpacked)
	}
	c.Acceptance = c.Acceptance.orStandard()
	return c, nil
}

func (a Acceptance) orStandard() Acceptance {
	for _, f := range []struct {
		v        *float64
		standard float64
	}{{&a.ErrorRate, 0.02}, {&a.SlowerBy, 1.5}, {&a.Confidence, 0.7}, {&a.Unknown, 0.25}, {&a.PSI, 1}} {
		if *f.v == 0 {
			*f.v = f.standard
		}
	}
	if a.Losses == 0 {
		a.Losses = 2
	}
	if a.Frames == 0 {
		a.Frames = manyFrames
	}
	return a
}

// Sample is how a model did over some frames.
type Sample struct {
	Frames     int            `json:"frames"`
	Errors     int            `json:"errors"`         // frames without an answer
	NotFinite  int            `json:"not_finite"`     // of Errors: NaN or infinite
	Hung       int            `json:"hung,omitempty"` // of Errors: no answer in time
	Unknown    int            `json:"unknown"`        // best score below its label's threshold
	Confidence float64        `json:"confidence"`     // mean best score, 0…1
	P95MS      float64        `json:"p95_ms"`
	Labels     map[string]int `json:"labels,omitempty"` // top answers, "unknown" among them
}

func (s Sample) share(n int) float64 { return float64(n) / float64(max(s.Frames, 1)) }

// against is what a model is judged by beside its own frames.
type against struct {
	ref      *Sample // the live model's on the same frames, or on those before; nil: none
	same     bool    // with the same labels
	base     *baseline
	budgetMS float64
}

// judge says why a model is not good enough; nil: nothing speaks against it so far.
func (a Acceptance) judge(s Sample, by against) *Refusal {
	ref := Sample{}
	if by.ref != nil {
		ref = *by.ref
	}
	if allowed := a.ErrorRate + ref.share(ref.Errors); s.Frames >= fewFrames && s.share(s.Errors) > allowed {
		return s.failed(allowed)
	}
	if s.Frames < someFrames {
		return nil
	}
	if no := a.slow(s, ref, by.budgetMS); no != nil {
		return no
	}
	if s.Errors < s.Frames {
		return a.drifted(s, ref, by)
	}
	return nil
}

// failed is the verdict on too many frames without an answer; its check is what most of them have.
func (s Sample) failed(allowed float64) *Refusal {
	check, what := CheckErrors, ""
	if s.Hung > 0 {
		check, what = CheckHang, fmt.Sprintf(", %d of them without an answer in time", s.Hung)
	}
	if s.NotFinite > 0 {
		what += fmt.Sprintf(", %d of them with answers that are no numbers", s.NotFinite)
	}
	if s.NotFinite > s.Hung {
		check = CheckNotFinite
	}
	return refuse(check, "%d of %d frames failed%s; %.1f %% may", s.Errors, s.Frames, what, 100*allowed)
}

func refuse(check, format string, args ...any) *Refusal {
	return &Refusal{Check: check, Reason: fmt.Sprintf(format, args...)}
}

func (a Acceptance) slow(s, ref Sample, budget float64) *Refusal {
	most, whose := budget, "its budget"
	if v := a.SlowerBy*ref.P95MS + latencySlack; ref.Frames >= someFrames && ref.P95MS > 0 && v > most {
		most, whose = v, fmt.Sprintf("%.3g times that of the model before", a.SlowerBy)
	}
	if most > 0 && s.P95MS > most {
		return refuse(CheckLatency, "too slow: p95 latency is %.1f ms, at most %.1f ms may be (%s)", s.P95MS, most, whose)
	}
	return nil
}

func (a Acceptance) drifted(s, ref Sample, by against) *Refusal {
	known := ref.Frames >= someFrames && by.same
	confidence := 0.0
	switch {
	case known:
		confidence = ref.Confidence
	case by.base != nil:
		confidence = by.base.Confidence
	}
	if confidence > 0 && s.Confidence < a.Confidence*confidence {
		return refuse(CheckConfidence, "its confidence collapsed: %.2f on average instead of %.2f", s.Confidence, confidence)
	}
	if known && s.share(s.Unknown) > ref.share(ref.Unknown)+a.Unknown {
		return refuse(CheckUnknown, "%.0f %% of its answers are unknown, of the model before %.0f %%", 100*s.share(s.Unknown), 100*ref.share(ref.Unknown))
	}
	if s.Frames < manyFrames {
		return nil
	}
	if v := psi(s.Labels, ref.Labels); by.same && ref.Frames >= manyFrames && v > a.PSI {
		return refuse(CheckDrift, "its answers are others than those of the model before: drift (PSI) %.2f, at most %.2f", v, a.PSI)
	}
	if by.base != nil && a.BaselinePSI > 0 {
		if v := psi(s.Labels, by.base.Labels); v > a.BaselinePSI {
			return refuse(CheckDrift, "its answers are others than in training: drift (PSI) %.2f, at most %.2f", v, a.BaselinePSI)
		}
	}
	return nil
}

// psi is the population stability index of two histograms, less what chance alone gives: for equal distributions it is on average
// (classes − 1)(1/n + 1/m) (B. Yurdakul, Statistical Properties of Population Stability Index, Western Michigan University, 2018). Half a count is
// added to each class, so that one that is empty does not make it infinite. By custom 0.1 is a small change and 0.25 a large one; our
// standard is far above, because the frames of a camera are not independent.
func psi(got, ref map[string]int) float64 {
	classes := map[string]bool{}
	var n, m float64
	for l, c := range got {
		classes[l] = true
		n += float64(c)
	}
	for l, c := range ref {
		classes[l] = true
		m += float64(c)
	}
	if n == 0 || m == 0 || len(classes) < 2 {
		return 0
	}
	k, sum := float64(len(classes)), 0.0
	for l := range classes {
		p, q := (float64(got[l])+0.5)/(n+k/2), (float64(ref[l])+0.5)/(m+k/2)
		sum += (p - q) * math.Log(p/q)
	}
	return max(0, sum-(k-1)*(1/n+1/m))
}
