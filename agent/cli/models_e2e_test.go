package cli

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"heron/agent/status"
	"heron/sync/message"
)

// bad is a model that must not get further than a step.
type bad struct {
	version, what string
	model         model
	push          []string // more flags
	steps         []string // where it may be stopped
	reason        string   // a part of what is said
}

var badModels = [][]bad{ // read only; each list goes to a group of its own, beside the others
	{
		{version: "2.5.0", what: "crashes", steps: []string{"tried: crash"}, reason: "it crashed heron-vision in each of 3 tries: heron-vision", model: model{answers: map[int]string{golden[0]: "abort"}}},
		{version: "2.0.0", what: "swapped label file", steps: []string{"tried: golden"}, reason: "golden picture golden/0.png is bright (0.900), not dark (0.900); the weights or the label file are not those it was packed with",
			model: model{labels: "bright\nmiddle\ndark\nabort\n", answers: swapped()}},
		{version: "2.1.0", what: "slow, over its budget", steps: []string{"tried: budget"}, reason: "its budget is 20 ms", model: model{more: `"latency_ms":60`, budgetMS: 20}},
		{version: "2.2.0", what: "not a number", steps: []string{"tried: not-finite"}, reason: "NaN", model: model{more: `"nan_every":1`}},
	}, {
		{version: "2.3.0", what: "not a number now and then", steps: []string{"shadow: not-finite"}, reason: "no numbers", model: model{more: `"nan_every":12`}},
		{version: "2.4.0", what: "worse, in shadow", steps: []string{"shadow: confidence"}, reason: "confidence collapsed", model: model{score: onLive(0.4)}},
		{version: "3.2.0", what: "crashes on live frames", steps: []string{"shadow: crash"}, reason: "it crashed heron-vision in each of 2 tries: heron-vision", model: model{answers: map[int]string{live[0]: "abort"}}},
	}, {
		{version: "3.0.0", what: "worse, on probation", steps: []string{"probation: drift"}, reason: "drift (PSI)",
			model: model{answers: map[int]string{live[0]: "bright", live[1]: "bright"}}},
		{version: "3.1.0", what: "slow after a while, without a budget", steps: []string{"probation: latency"}, reason: "too slow", push: []string{"--probation", "20s"},
			model: model{more: `"latency_ms":8,"slow":{"from":200,"times":8}`}},
	}, {
		{version: "4.0.0", what: "hangs", steps: []string{"tried: hang"}, reason: "the model was not loaded within", model: model{more: `"hang_every":1`}},
		{version: "3.3.0", what: "hangs now and then", steps: []string{"shadow: hang"}, reason: "without an answer in time", model: model{more: `"hang_every":12`}},
		{version: "4.1.0", what: "slow, without a budget", steps: []string{"shadow: latency", "probation: latency"}, reason: "too slow", model: model{more: `"latency_ms":40`}},
	},
}

// swapped answers with the same numbers when two lines of the label file have changed places.
func swapped() map[int]string {
	out := map[int]string{}
	for i := range 16 {
		out[i] = map[string]string{"dark": "bright", "middle": "middle", "bright": "dark"}[right(i)]
	}
	return out
}

func onLive(score float64) map[int]float64 {
	out := map[int]float64{}
	for _, b := range live {
		out[b] = score
	}
	return out
}

// TestBadModelsStopAtTheirStep: the rollout stops by itself in its first wave, the device runs the model before, and the digest is refused.
func TestBadModelsStopAtTheirStep(t *testing.T) {
	slow(t)
	t.Parallel()
	h := newHerd(t)
	h.pack(t, "1.0.0", model{more: `"latency_ms":8`})
	digests := map[string]string{}
	for _, list := range badModels {
		for _, b := range list {
			digests[b.version] = h.publish(t, b.version, b.model)
		}
	}
	var groups sync.WaitGroup
	defer groups.Wait()
	for i, list := range badModels { // not t.Parallel, which waits for a core each: these wait for the clock
		groups.Go(func() {
			t.Run(fmt.Sprint("group", i), func(t *testing.T) { h.mustStopAll(t, fmt.Sprint("group", i), list, digests) })
		})
	}
}

func (h *herd) mustStopAll(t *testing.T, group string, list []bad, digests map[string]string) {
	first, second := h.device(t, group, group+"-1"), h.device(t, group, group+"-2")
	first.start(t)
	second.start(t)
	for _, f := range []field{first, second} {
		f.until(t, "classifies and is online", func(s *status.Snapshot) bool { return classifying(s) && s.Uplink.State == "online" })
	}
	for _, b := range list {
		t.Run(b.what, func(t *testing.T) { h.mustStop(t, group, b, digests[b.version]) })
	}
	first.until(t, "still classifies", classifying)
	h.slotUntil(t, group, group+"-2", "asked for nothing after the last abort", func(s message.ReportedSlot) bool { return s.Target == "" && s.Decision == "" })
}

// slotUntil waits until a device has reported so.
func (h *herd) slotUntil(t *testing.T, group, id, what string, ok func(message.ReportedSlot) bool) {
	t.Helper()
	s := h.slot(t, group, id)
	for began := time.Now(); !ok(s) && time.Since(began) < 20*time.Second; s = h.slot(t, group, id) {
		time.Sleep(100 * time.Millisecond)
	}
	if !ok(s) {
		t.Errorf("%s is not %s: %+v", id, what, s)
	}
}

func (h *herd) mustStop(t *testing.T, group string, b bad, digest string) {
	target := "bottles/" + b.version
	push := append([]string{"push", "--model", target, "--percent", "50,100", "--salt", saltOf(group)}, b.push...)
	began := time.Now()
	out, errOut, code := h.fleet(t, group, push...)
	took := time.Since(began)
	if code != exitFailed || !strings.Contains(errOut, "stopped: 1 of 1 selected devices failed") || !strings.Contains(errOut, b.reason) {
		t.Errorf("push: exit %d\n%s%s", code, out, errOut)
	}
	s := h.slot(t, group, group+"-1")
	if versionOf(s.Active) != "1.0.0" || len(s.Refused) == 0 || s.Refused[0].Digest != digest || s.Refused[0].Target != target {
		t.Fatalf("the first runs %s, refused %+v; want 1.0.0 and %s", versionOf(s.Active), s.Refused, digest)
	}
	h.slotUntil(t, group, group+"-2", "not drawn", func(s message.ReportedSlot) bool {
		return versionOf(s.Active) == "1.0.0" && s.Step == message.StepWaiting && s.Decision == "not-selected"
	})
	r := s.Refused[0]
	oneLine(t, r.Reason)
	at := r.Step + ": " + r.Check
	if !slices.Contains(b.steps, at) || !strings.Contains(r.Reason, b.reason) {
		t.Errorf("stopped at %s because %q; want at %v because of %q", at, r.Reason, b.steps, b.reason)
	}
	if text, _, _ := h.fleet(t, group, "show", group+"-1"); strings.Count(text, "["+at+"] "+r.Reason) < 2 { // of the slot, and among the refused
		t.Errorf("show does not say %q of [%s]:\n%s", r.Reason, at, text)
	}
	if out, errOut, code := h.fleet(t, group, "abort"); code != 0 {
		t.Fatalf("abort: %d %s%s", code, out, errOut)
	}
	began = time.Now()
	out, errOut, code = h.fleet(t, group, push...)
	if code != exitFailed || !strings.Contains(errOut, "refused before") {
		t.Errorf("the same push again: exit %d\n%s%s", code, out, errOut)
	}
	t.Logf("%.1f s, [%s] %s; again %.1f s", took.Seconds(), at, r.Reason, time.Since(began).Seconds())
	if out, errOut, code := h.fleet(t, group, "abort"); code != 0 {
		t.Fatalf("abort: %d %s%s", code, out, errOut)
	}
}
