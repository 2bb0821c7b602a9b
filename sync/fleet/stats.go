package fleet

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"heron/sync/message"
)

// Delivery are the four figures of software delivery, of models: from audit records, counted per device.
type Delivery struct {
	From     time.Time `json:"from,omitzero"`
	To       time.Time `json:"to,omitzero"`
	Devices  int       `json:"devices"`
	Records  int       `json:"records"` // audit records of models
	Versions int       `json:"versions"`

	Offered    int `json:"offered"`
	Installed  int `json:"installed"` // switched to
	Confirmed  int `json:"confirmed"`
	Refused    int `json:"refused"` // before the switch
	RolledBack int `json:"rolled_back"`

	LeadTime    *Spread  `json:"lead_time_s,omitempty"`      // offered to confirmed, on one device
	PerWeek     *float64 `json:"versions_per_week,omitzero"` // distinct versions confirmed somewhere
	FailureRate *float64 `json:"failure_rate,omitempty"`     // of the switches, how many were taken back
	Restore     *Spread  `json:"restore_s,omitempty"`        // from the switch to the previous model running again
}

// Spread of durations in seconds.
type Spread struct {
	N      int     `json:"n"`
	Median float64 `json:"median"`
	P95    float64 `json:"p95"`
	Max    float64 `json:"max"`
}

// Deliveries adds up audit records. Not for concurrent use. Records that come twice count once.
type Deliveries struct {
	seen   map[identity]bool
	said   map[step]bool
	events []event
}

type identity struct {
	account
	seq uint64
}

type step struct {
	device, what, target string
	at                   time.Time
}

type event struct {
	step
	seq   uint64
	again bool // a refusal of what was refused before
}

// NewDeliveries knows none.
func NewDeliveries() *Deliveries {
	return &Deliveries{seen: map[identity]bool{}, said: map[step]bool{}}
}

// Take adds one record; what is not about models is passed over.
func (d *Deliveries) Take(l Line) {
	if l.Stream != string(message.Audit) {
		return
	}
	var r struct {
		Seq    uint64    `json:"seq"`
		T      time.Time `json:"t"`
		What   string    `json:"what"`
		Target string    `json:"target"`
		Detail string    `json:"detail"`
	}
	id := identity{account: account{l.Group, l.Device, l.Epoch}}
	if json.Unmarshal(l.Record, &r) != nil || !slices.Contains([]string{"offer", "install", "confirm", "refuse", "rollback"}, r.What) {
		return
	}
	e := step{l.Group + "/" + l.Device, r.What, r.Target, r.T}
	if id.seq = r.Seq; d.seen[id] || d.said[e] { // a device that is not sure whether it said it says it again, under another number
		return
	}
	d.seen[id], d.said[e] = true, true
	d.events = append(d.events, event{e, r.Seq, strings.Contains(r.Detail, "refused before: ")})
}

// Figures of all that was taken.
func (d *Deliveries) Figures() Delivery {
	slices.SortStableFunc(d.events, func(a, b event) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.seq, b.seq)) })
	devices, c := map[string]*history{}, &tallies{versions: map[string]bool{}}
	for _, e := range d.events {
		if devices[e.device] == nil {
			devices[e.device] = &history{offered: map[string]time.Time{}}
		}
		c.Records++
		devices[e.device].take(e, c)
	}
	out := c.Delivery
	out.Devices, out.Versions = len(devices), len(c.versions)
	out.LeadTime, out.Restore = spread(c.lead), spread(c.restore)
	if len(d.events) > 0 {
		out.From, out.To = d.events[0].at, d.events[len(d.events)-1].at
		if weeks := out.To.Sub(out.From).Hours() / (24 * 7); weeks > 0 {
			v := float64(out.Versions) / max(weeks, 1.0/7) // less than a day says nothing about a week
			out.PerWeek = &v
		}
	}
	if out.Installed > 0 {
		v := float64(c.taken) / float64(out.Installed)
		out.FailureRate = &v
	}
	return out
}

// tallies are figures on their way.
type tallies struct {
	Delivery
	taken         int // of the switches that were seen, how many were taken back
	versions      map[string]bool
	lead, restore []float64
}

// history is what one device has behind it.
type history struct {
	offered map[string]time.Time // by target, until it is confirmed or refused
	ran     []switched           // the newest last
	home    string               // target to which it is going back
}

type switched struct {
	target string
	at     time.Time
}

const mostRan = 20 // of each device, for going back

func (h *history) take(e event, c *tallies) {
	switch e.what {
	case "offer":
		c.Offered++
		h.offered[e.target] = e.at
	case "refuse":
		if e.again { // asked for in each wave, it says the same again: that is no news
			h.unask(e.target, c)
		} else {
			c.Refused++
		}
		delete(h.offered, e.target)
	case "install":
		h.install(e, c)
	case "confirm":
		if h.home == e.target {
			h.home = ""
			break
		}
		c.Confirmed++
		c.versions[e.target] = true
		c.lead = since(c.lead, h.offered[e.target], e.at)
		delete(h.offered, e.target) // brought again because its files were damaged, it is no new change
	case "rollback":
		c.RolledBack++
		h.back(e.target, e.at, c)
	}
}

// unask takes an offer back that came to nothing new.
func (h *history) unask(target string, c *tallies) {
	if !h.offered[target].IsZero() {
		c.Offered--
	}
}

// install is a switch, or, where it is to what ran before, a switch that is taken back by people.
func (h *history) install(e event, c *tallies) {
	n := len(h.ran)
	if n > 1 && h.ran[n-2].target == e.target {
		h.unask(e.target, c)
		delete(h.offered, e.target)
		c.RolledBack++
		h.home = e.target
		h.back(h.ran[n-1].target, e.at, c)
		return
	}
	c.Installed++
	h.home = ""
	if n > 0 && h.ran[n-1].target == e.target { // brought again
		h.ran[n-1].at = e.at
		return
	}
	if h.ran = append(h.ran, switched{e.target, e.at}); len(h.ran) > mostRan {
		h.ran = h.ran[1:]
	}
}

// back ends the time of what runs.
func (h *history) back(target string, at time.Time, c *tallies) {
	n := len(h.ran)
	if n == 0 || h.ran[n-1].target != target {
		return // the switch was before these records
	}
	c.taken++
	c.restore = since(c.restore, h.ran[n-1].at, at)
	h.ran = h.ran[:n-1]
}

// since adds a duration whose beginning is known.
func since(list []float64, from, to time.Time) []float64 {
	if from.IsZero() || to.Before(from) {
		return list
	}
	return append(list, to.Sub(from).Seconds())
}

func spread(s []float64) *Spread {
	if len(s) == 0 {
		return nil
	}
	slices.Sort(s)
	return &Spread{N: len(s), Median: s[(len(s)-1)/2], P95: s[(len(s)-1)*95/100], Max: s[len(s)-1]}
}
