package cli

import (
	"bytes"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"heron/agent/status"
)

// TestKilledOnItsWayAModelGoesOn: SIGKILL of the whole service while it fetches, in shadow, and on probation; the model is confirmed in the end.
// Then the commands, each of which the device answers.
func TestKilledOnItsWayAModelGoesOn(t *testing.T) {
	slow(t)
	t.Parallel()
	h := newHerd(t)
	h.pack(t, "1.0.0", model{})
	digest := h.publish(t, "5.0.0", model{padding: 500_000})
	h.drip = 200 * time.Millisecond // 80 kB/s
	f := h.device(t, "kill", "kill-1")
	s := f.start(t)
	f.until(t, "classifies and is online", func(s *status.Snapshot) bool { return classifying(s) && s.Uplink.State == "online" })
	if out, errOut, code := h.fleet(t, "kill", "push", "--model", "bottles/5.0.0", "--device", "kill-1", "--detach", "--shadow", "3s", "--probation", "6s"); code != 0 {
		t.Fatalf("push: %d %s%s", code, out, errOut)
	}
	for _, at := range []struct {
		name  string
		steps []string
		least int
	}{{"fetching", []string{"reserved"}, 20}, {"in shadow", []string{"tried"}, 1}, {"on probation", []string{"probation"}, 0}} {
		f.until(t, at.name, func(s *status.Snapshot) bool {
			u := s.Models[0].Update
			return u != nil && slices.Contains(at.steps, u.Step) && u.Percent >= at.least
		})
		if got := s.end(t, syscall.SIGKILL); got != -1 {
			t.Fatalf("%s: killed, and ended with %d", at.name, got)
		}
		s = f.start(t)
		f.until(t, "classifies after a kill "+at.name, classifying)
	}
	snap := f.until(t, "confirmed", func(s *status.Snapshot) bool {
		return s.Models[0].Update != nil && s.Models[0].Update.Step == "confirmed"
	})
	if snap.Models[0].Version != "5.0.0" {
		t.Errorf("the page says %+v", snap.Models[0])
	}
	if r := h.slot(t, "kill", "kill-1"); r.Active == nil || r.Active.Digest != digest {
		t.Errorf("reported: %+v", r)
	}
	h.command(t, f)
}

// command has the device do what a fleet manager may ask of it.
func (h *herd) command(t *testing.T, f field) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"ping"}, 0, `"uptime_s":`},
		{[]string{"camera-test"}, 0, `"picture":true`},
		{[]string{"camera-test", "--arg", "camera=nowhere"}, 1, `there is no camera "nowhere"`},
		{[]string{"log-level", "--arg", "level=debug"}, 0, `"level":"debug"`},
		{[]string{"log-level", "--arg", "level=loud"}, 1, `level is "loud"`},
		{[]string{"log-level", "--arg", "level=info+3"}, 1, `level is "info+3"`},
		{[]string{"snapshot", "--arg", "width=-5", "--arg", "url=" + h.url + "/uploads/front.jpg"}, 1, `width is -5; expected a number of pixels from 16 to 4096`},
		{[]string{"snapshot", "--arg", "url=" + h.url + "/uploads/front.jpg"}, 0, `"sha256":`},
		{[]string{"snapshot", "--arg", "url=http://192.0.2.1/x.jpg"}, 1, "192.0.2.1"},
		{[]string{"diag", "--arg", "url=" + h.url + "/uploads/diag.tar.gz?sig=upl0ad"}, 0, `"sha256":`},
		{[]string{"format-disk"}, 1, "rejected"},
		{[]string{"rollback"}, 0, "succeeded"},
	} {
		out, errOut, code := h.fleet(t, "kill", append([]string{"cmd", "kill-1", "--timeout", "20s"}, c.args...)...)
		if code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%v: exit %d, want %d and %q:\n%s%s", c.args, code, c.code, c.want, out, errOut)
		}
	}
	jpeg, support := <-h.uploads, unpacked(t, <-h.uploads)
	if !bytes.HasPrefix(jpeg, []byte{0xff, 0xd8}) || !strings.Contains(support["reported.json"], `"slots"`) || !strings.Contains(support["models.json"], `"slot"`) || !strings.Contains(support["log.txt"], "msg=running") {
		t.Errorf("uploaded: %.20q, %v", jpeg, support)
	}
	for name, text := range support {
		if strings.Contains(text, "upl0ad") {
			t.Errorf("%s has the token of the address that it was sent to", name)
		}
	}
	f.until(t, "back to the model before", func(s *status.Snapshot) bool {
		u := s.Models[0].Update
		return s.Models[0].Version == "1.0.0" && u != nil && u.Step == "rolled-back" && classifying(s)
	})
}
