package agent

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"heron/internal/fetch"
	"heron/sync/budget"
	"heron/sync/models"
)

const oneCamera = "cameras: [{name: a, source: \"testcard:\"}]\n"

func TestUpdatesAreRead(t *testing.T) {
	path := write(t, oneCamera+`
updates:
  budget: {per_day: 50MiB, per_month: 1GiB, counts: metered}
  metered: {links: [wwan*, ppp*], window: "22:00-05:00"}
  rate: 2MiB/s
  defer_while: busy
  defer_at_most: 90m
`)
	c, err := Load(path, []string{"HERON_UPDATES_BUDGET_PER_DAY=60MiB", "HERON_UPDATES_RATE=64KiB/s"})
	if err != nil {
		t.Fatal(err)
	}
	u := c.Updates
	if u.Budget != (UpdateBudget{60 << 20, 1 << 30, "metered"}) || !slices.Equal(u.Metered.Links, []string{"wwan*", "ppp*"}) || u.Metered.Window != "22:00-05:00" ||
		u.Rate != 64<<10 || u.Defer != filepath.Join(filepath.Dir(path), "busy") || u.AtMost != 90*time.Minute || !u.bounded() {
		t.Errorf("%+v", u)
	}
	text, err := c.Effective()
	if err != nil || !strings.Contains(string(text), "rate: 64KiB/s") {
		t.Errorf("%v\n%s", err, text)
	}
	if again, err := Load(write(t, string(text)), nil); err != nil || again.Updates.Rate != u.Rate || again.Updates.Budget != u.Budget {
		t.Errorf("what Effective prints is read as %+v, %v", again, err)
	}
	plain, err := Load(write(t, oneCamera), nil)
	if err != nil || plain.Updates.bounded() || plain.Updates.AtMost != 4*time.Hour {
		t.Errorf("without updates: %+v, %v", plain.Updates, err)
	}
}

func TestFault_Y1_BadUpdatesNameThePlace(t *testing.T) {
	for text, says := range map[string]string{
		"{budget: {per_day: 100KiB}}":                          "updates.budget.per_day: 100 KiB is too little",
		"{budget: {per_month: 1000}}":                          "updates.budget.per_month: 1000 B is too little",
		"{budget: {per_day: 50MiB, per_month: 10MiB}}":         "updates.budget.per_month: 10 MiB is less than per_day, 50 MiB",
		"{budget: {per_day: lots}}":                            `updates.budget.per_day: "lots" is no amount of bytes, expected for example 512MiB`,
		"{budget: {per_week: 1MiB}}":                           "per_week",
		"{budget: {per_day: 1MiB, counts: some}}":              `updates.budget.counts: "some", expected all or metered`,
		"{budget: {per_day: 1MiB, counts: metered}}":           "updates.metered.links names no link; name them, such as",
		"{metered: {window: \"22:00-05:00\"}}":                 "updates.metered.window: is for metered links, and updates.metered.links names none",
		"{metered: {links: [wwan*], window: \"22-5\"}}":        `updates.metered.window: "22-5" is not a span of the day such as 22:00-05:00`,
		"{metered: {links: [wwan*], window: \"22:00-22:00\"}}": "updates.metered.window",
		"{metered: {links: [\"ww[\"]}}":                        `updates.metered.links[0]: "ww[" is no pattern of interface names`,
		"{metered: {links: [wwan0, \"\"]}}":                    "updates.metered.links[1]",
		"{rate: 2MiB}":                                         `updates.rate: "2MiB" is no rate, expected for example 2MiB/s`,
		"{rate: 100/s}":                                        "updates.rate: 100 B/s, expected at least 16KiB/s",
		"{budget: {per_day: {a: b}}}":                          "updates.budget.per_day: ",
		"{rate: [1, 2]}":                                       "updates.rate: ",
		"{rate: fast/s}":                                       "2MiB/s",
		"{defer_at_most: 10s}":                                 "updates.defer_at_most: 10s, expected 1m to 168h",
		"{defer_at_most: 200h}":                                "updates.defer_at_most",
	} {
		_, err := Load(write(t, oneCamera+"updates: "+text+"\n"), nil)
		var bad *ConfigError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), says) || bad.Line != 2 {
			t.Errorf("%s: %v, want line 2 and %q", text, err, says)
		}
	}
}

func TestBusy(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "busy")
	a := &Agent{}
	if why := a.busy("main"); why != "" {
		t.Errorf("without a marker configured: %s", why)
	}
	a.conf.Updates.Defer = marker
	if why := a.busy("main"); why != "" {
		t.Errorf("no marker: %s", why)
	}
	if err := os.WriteFile(marker, nil, 0); err != nil {
		t.Fatal(err)
	}
	if why := a.busy("main"); why != "put off while "+marker+" exists" {
		t.Errorf("marker: %q", why)
	}
	a.conf.Updates.Defer = filepath.Join(marker, "below") // not a folder: nobody can look
	if why := a.busy("main"); !strings.HasPrefix(why, "put off: nobody can tell whether") || !strings.Contains(why, "not a directory") {
		t.Errorf("cannot look: %q", why)
	}
}

func TestATransferThatTheBudgetEndedIsOneThatWaits(t *testing.T) {
	var l *models.Later
	err := later(fmt.Errorf("fetch: %w", &fetch.BudgetError{Wait: time.Hour, Why: "spent"}))
	if !errors.As(err, &l) || l.Why != "spent" || l.Wait != time.Hour {
		t.Errorf("%v", err)
	}
	if err := later(errors.New("no link")); errors.As(err, &l) || err == nil {
		t.Errorf("%v", err)
	}
	if err := later(nil); err != nil {
		t.Error(err)
	}
}

// The route is that to the repository's host, on its port.
func TestBudgetOfTheRepository(t *testing.T) {
	a := &Agent{}
	for _, address := range []string{"https://127.0.0.1:8443/x", "https://127.0.0.1/x", "http://localhost:80"} {
		at, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		a.conf.Outbox.Path = filepath.Join(t.TempDir(), "outbox.db")
		if b, err := a.buildBudget(at); b != nil || err != nil {
			t.Errorf("nothing is bounded, and there is %v, %v", b, err)
		}
		a.conf.Updates.Metered.Links = []string{"*"}
		b, err := a.buildBudget(at)
		if err != nil {
			t.Fatal(err)
		}
		_, why := b.Check(t.Context())
		if s := b.State(); s.Code != budget.Metered || !s.OnMetered || !strings.Contains(why, "link "+s.Link+" is metered") {
			t.Errorf("%s: %q, %+v", address, why, s)
		}
		a.conf.Updates = Updates{}
	}
}
