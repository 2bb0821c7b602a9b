package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"heron/agent"
	"heron/agent/status"
	"heron/sync/message"
)

// list is what heron model list --json says, once it is as ok wants it.
func (f field) list(t *testing.T, what string, ok func(*agent.ControlModels) bool) agent.ControlModels {
	t.Helper()
	var out, errOut string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		all, code := agent.ControlModels{}, 0
		out, errOut, code = heron(t, "model", "list", "--json", "--config", f.conf)
		if code == exitOK && json.Unmarshal([]byte(out), &all) == nil && ok(&all) {
			return all
		}
	}
	t.Fatalf("not within a minute: %s; heron model list says %s%s", what, out, errOut)
	return agent.ControlModels{}
}

// configure writes the configuration that s has, and more.
func (s *shelf) configure(t *testing.T, base, more string) {
	t.Helper()
	s.write(t, "heron.yaml", base+more)
	if out, errOut, code := heron(t, "check", "--config", s.conf); code != exitOK {
		t.Fatalf("check: %d %s%s", code, out, errOut)
	}
}

// A model of four megabytes on a budget of one a day: it pauses and says why everywhere, a kill gives nothing away, and with a larger budget it
// goes on where it was.
func TestADownloadOnABudget(t *testing.T) {
	slow(t)
	t.Parallel()
	s := newShelf(t)
	s.publish(t, "1.0.0", floats(1, 4*megabyte))
	whole, _ := s.publish(t, "1.1.0", floats(2, 4*megabyte))
	b, err := os.ReadFile(s.conf)
	must(t, err)
	base := string(b)
	s.configure(t, base, "updates: {metered: {links: [\"*\"]}}\n") // whatever the way to this machine is called
	service := s.start(t)
	s.until(t, "classifies and is online", func(p *status.Snapshot) bool { return classifying(p) && p.Uplink.State == "online" })
	s.ask(t, 1, "1.1.0")
	all := s.list(t, "the link is metered", func(all *agent.ControlModels) bool { return strings.HasPrefix(all.Slots[0].Deferred, "link ") })
	if b := all.Budget; b.Code != "metered" || !b.Metered || b.Link == "" || s.served(".1.1.0") != 0 {
		t.Errorf("%+v, %d bytes served", b, s.served(".1.1.0"))
	}
	if code := service.end(t, syscall.SIGTERM); code != exitOK {
		t.Errorf("ended with %d", code)
	}
	s.configure(t, base, "updates: {budget: {per_day: 1MiB, per_month: 1GiB}, defer_while: busy}\n")
	service = s.start(t)

	const why = "the day's budget of 1 MiB is spent; goes on "
	paused := func(all *agent.ControlModels) bool { return strings.HasPrefix(all.Slots[0].Deferred, why) }
	all = s.list(t, "it pauses", paused)
	slot, spent := all.Slots[0], all.Budget
	if slot.Percent < 10 || slot.Percent > 30 || slot.Error != "" || slot.Target != "bottles/1.1.0" || spent == nil || spent.Code != "day" || spent.Day > 1<<20 || spent.Day < 800<<10 || spent.Month != spent.Day {
		t.Errorf("%+v, %+v", slot, spent)
	}
	snap := s.until(t, "the page says so", func(p *status.Snapshot) bool {
		u := p.Models[0].Update
		return u != nil && u.Step == message.StepWaiting && u.Decision == "deferred" && strings.HasPrefix(u.Reason, why)
	})
	if u := snap.Uplink.Updates; snap.State != "ok" || u == nil || u.Code != "day" || u.PerDay != 1<<20 {
		t.Errorf("state %s, %+v", snap.State, u)
	}
	for path, want := range map[string][]string{
		"/metrics": {`heron_updates_waiting{reason="day"} 1`, `heron_updates_waiting{reason="metered"} 0`, `heron_updates_budget_bytes{period="day"} 1.048576e+06`, `heron_updates_spent_bytes{period="month"}`},
		"/":        {"Updates today", "of 1.0 MiB", "waiting (deferred) ", "day&#39;s budget of 1 MiB is spent"},
	} {
		text := s.body(t, path)
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s does not say %q", path, w)
			}
		}
	}
	if out, _, _ := heron(t, "model", "list", "--config", s.conf); !strings.Contains(out, "waits: "+why) || !strings.Contains(out, "of 1 MiB today") {
		t.Errorf("heron model list: %s", out)
	}

	if code := service.end(t, syscall.SIGKILL); code != -1 {
		t.Fatalf("killed, and ended with %d", code)
	}
	service = s.start(t)
	again := s.list(t, "it still waits after a kill", paused)
	if again.Budget.Day < spent.Day || again.Budget.Day > spent.Day+512<<10 {
		t.Errorf("%d bytes spent before the kill, %d after it", spent.Day, again.Budget.Day)
	}
	if code := service.end(t, syscall.SIGTERM); code != exitOK {
		t.Errorf("ended with %d", code)
	}

	// a larger budget; and the line is running
	busy := filepath.Join(s.field.dir, "busy")
	must(t, os.WriteFile(busy, nil, 0o600))
	s.configure(t, base, "updates: {budget: {per_day: 64MiB, per_month: 1GiB}, defer_while: busy, defer_at_most: 168h}\n")
	service = s.start(t)
	all = s.list(t, "the switch is put off", func(all *agent.ControlModels) bool {
		return strings.HasPrefix(all.Slots[0].Deferred, "put off while "+busy+" exists; switches at ")
	})
	if slot := all.Slots[0]; slot.Step != "shadow" || slot.Active.Model != "bottles@1.0.0" || all.Budget.Day < whole-1<<20 || all.Budget.Day > whole+3<<20 {
		t.Errorf("%+v, %+v", slot, all.Budget)
	}
	s.mu.Lock()
	if len(s.ranges) != 1 {
		t.Errorf("it was to be taken up once, where it was: %q", s.ranges)
	}
	s.mu.Unlock()
	must(t, os.Remove(busy))
	s.wish(t, 1, "1.1.0")
	if code := service.end(t, syscall.SIGTERM); code != exitOK {
		t.Errorf("ended with %d", code)
	}
}

func (f field) body(t *testing.T, path string) string {
	t.Helper()
	r, err := http.Get("http://" + f.page + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
