package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"heron/agent/status"
	"heron/internal/daily"
	"heron/internal/fetch"
	"heron/sync/budget"
	"heron/sync/message"
	"heron/sync/models"
)

// Updates says what new models may cost, and when they may take the live one's place.
type Updates struct {
	Budget  UpdateBudget  `yaml:"budget"`
	Metered MeteredLinks  `yaml:"metered"`
	Rate    Rate          `yaml:"rate"`          // at most; default: as fast as it goes
	Defer   string        `yaml:"defer_while"`   // a file: while it exists, no model is switched to
	AtMost  time.Duration `yaml:"defer_at_most"` // … for so long; default 4h
}

// UpdateBudget bounds the bytes of updates.
type UpdateBudget struct {
	PerDay   Bytes  `yaml:"per_day"`   // default: no bound
	PerMonth Bytes  `yaml:"per_month"` // default: no bound
	Counts   string `yaml:"counts"`    // all, metered: of which links; default all
}

// MeteredLinks are the links that cost money.
type MeteredLinks struct {
	Links  []string `yaml:"links"`  // patterns of interfaces, such as wwan*; default: none is metered
	Window string   `yaml:"window"` // 22:00-05:00, local time: models come over them only then; default: never
}

// Rate is an amount a second, written as 2MiB/s.
type Rate int64

// UnmarshalYAML reads an amount with /s.
func (r *Rate) UnmarshalYAML(n ast.Node) error {
	text := scalar(n)
	amount, per := strings.CutSuffix(text, "/s")
	b, ok := parseBytes(amount)
	if !ok || !per && b != 0 {
		return misread(n, "%q is no rate, expected for example 2MiB/s", text)
	}
	*r = Rate(b)
	return nil
}

// MarshalYAML writes what UnmarshalYAML reads.
func (r Rate) MarshalYAML() (any, error) {
	b, err := Bytes(r).MarshalYAML()
	if r == 0 || err != nil {
		return b, err
	}
	return fmt.Sprint(b, "/s"), nil
}

func (c *Config) checkUpdates() error {
	u := &c.Updates
	least := Bytes(budget.LeastBudget)
	switch b := u.Budget; {
	case b.PerDay > 0 && b.PerDay < least:
		return problem("updates.budget.per_day", "%s is too little to get anything through, expected at least 1MiB, or 0 for no bound", budget.Amount(int64(b.PerDay)))
	case b.PerMonth > 0 && b.PerMonth < least:
		return problem("updates.budget.per_month", "%s is too little to get anything through, expected at least 1MiB, or 0 for no bound", budget.Amount(int64(b.PerMonth)))
	case b.PerDay > 0 && b.PerMonth > 0 && b.PerMonth < b.PerDay:
		return problem("updates.budget.per_month", "%s is less than per_day, %s; raise it, or lower per_day", budget.Amount(int64(b.PerMonth)), budget.Amount(int64(b.PerDay)))
	case b.Counts != "all" && b.Counts != "metered":
		return problem("updates.budget.counts", "%q, expected all or metered", b.Counts)
	case b.Counts == "metered" && len(u.Metered.Links) == 0:
		return problem("updates.budget.counts", "metered, and updates.metered.links names no link; name them, such as [wwan*, ppp*]")
	case u.Rate > 0 && u.Rate < budget.LeastRate:
		return problem("updates.rate", "%s/s, expected at least 16KiB/s: less would keep a connection open for nothing", budget.Amount(int64(u.Rate)))
	case u.AtMost < time.Minute || u.AtMost > 7*24*time.Hour:
		return problem("updates.defer_at_most", "%v, expected 1m to 168h", u.AtMost)
	}
	return u.Metered.check()
}

func (m *MeteredLinks) check() error {
	for i, p := range m.Links {
		if _, err := path.Match(p, "wwan0"); err != nil || p == "" {
			return problem(fmt.Sprintf("updates.metered.links[%d]", i), "%q is no pattern of interface names, expected for example wwan*", p)
		}
	}
	if m.Window == "" {
		return nil
	}
	if len(m.Links) == 0 {
		return problem("updates.metered.window", "is for metered links, and updates.metered.links names none; name them, such as [wwan*, ppp*]")
	}
	if _, err := daily.ParseWindow(m.Window); err != nil {
		return problem("updates.metered.window", "%v, from one time of the day to another, local time", err)
	}
	return nil
}

// bounded says whether anything bounds the bytes of updates.
func (u *Updates) bounded() bool {
	return u.Budget.PerDay > 0 || u.Budget.PerMonth > 0 || len(u.Metered.Links) > 0 || u.Rate > 0
}

// buildBudget makes what holds the transfers from the repository to the budget; nil: nothing does.
func (a *Agent) buildBudget(repository *url.URL) (*budget.Budget, error) {
	u := &a.conf.Updates
	if !u.bounded() {
		return nil, nil
	}
	port := repository.Port()
	if port == "" {
		port = repository.Scheme
	}
	return budget.New(budget.Config{Path: a.state("budget"), PerDay: int64(u.Budget.PerDay), PerMonth: int64(u.Budget.PerMonth), Rate: int64(u.Rate),
		Metered: u.Metered.Links, Window: u.Metered.Window, OnlyMetered: u.Budget.Counts == "metered",
		Host: net.JoinHostPort(repository.Hostname(), port), Log: a.log})
}

// mayFlow is a *models.Later where the budget lets no file come now. It costs nothing to ask.
func (u *updates) mayFlow(ctx context.Context) error {
	if u.budget == nil {
		return nil
	}
	if wait, why := u.budget.Check(ctx); why != "" {
		return &models.Later{Why: why, Wait: wait}
	}
	return nil
}

// later makes a transfer that the budget ended one that waits.
func later(err error) error {
	var b *fetch.BudgetError
	if errors.As(err, &b) {
		return &models.Later{Why: b.Error(), Wait: b.Wait}
	}
	return err
}

// busy says that a local application does not want the model to change.
func (a *Agent) busy(string) string {
	file := a.conf.Updates.Defer
	if file == "" {
		return ""
	}
	_, err := os.Lstat(file)
	switch {
	case err == nil:
		return "put off while " + file + " exists"
	case errors.Is(err, fs.ErrNotExist):
		return ""
	}
	return "put off: nobody can tell whether " + file + " exists: " + errors.Unwrap(err).Error()
}

// budgetState is what is spent; nil: nothing bounds it.
func (a *Agent) budgetState() *status.Budget {
	if a.updates == nil || a.updates.budget == nil {
		return nil
	}
	s := a.updates.budget.State()
	return &status.Budget{Day: s.Day, PerDay: s.PerDay, Month: s.Month, PerMonth: s.PerMonth, Link: s.Link, Metered: s.OnMetered, Code: s.Code, Why: s.Why, Trouble: s.Trouble}
}

// moved is what files cost since the start, both ways, in bytes.
func (a *Agent) moved() int64 {
	if a.updates == nil || a.updates.fetch == nil {
		return 0
	}
	s := a.updates.fetch.Stats()
	return s.Received + s.Sent
}

// linkUse is the part of a health record about the link. a.mu is held.
func (a *Agent) linkUse(f facts) message.LinkUse {
	use := message.LinkUse{BytesToday: int64(f.uplink.SentToday+f.uplink.ReceivedToday) + f.moved - a.seen.movedBefore}
	if b := a.budgetState(); b != nil {
		use.Budget, use.Updates = b.PerDay, b.Day
	}
	return use
}
