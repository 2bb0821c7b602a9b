package fleet

import (
	"encoding/json"
	"slices"
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
	events []step
}

type identity struct {
	account
	seq uint64
}

type step struct {
	device, what, target string
	at                   time.Time
}

// NewDeliveries knows none.
func NewDeliveries() *Deliveries { return &Deliveries{seen: map[identity]bool{}} }

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
	}
	id := identity{account: account{l.Group, l.Device, l.Epoch}}
	if json.Unmarshal(l.Record, &r) != nil || !slices.Contains([]string{"offer", "install", "confirm", "refuse", "rollback"}, r.What) {
		return
	}
	if id.seq = r.Seq; d.seen[id] {
		return
	}
	d.seen[id] = true
	d.events = append(d.events, step{l.Group + "/" + l.Device, r.What, r.Target, r.T})
}

// way is where one version is on one device.
type way struct{ offered, installed time.Time }

// Figures of all that was taken.
func (d *Deliveries) Figures() Delivery {
	slices.SortStableFunc(d.events, func(a, b step) int { return a.at.Compare(b.at) })
	out := Delivery{Records: len(d.events)}
	devices, versions, ways := map[string]bool{}, map[string]bool{}, map[[2]string]*way{}
	var lead, restore []float64
	for _, e := range d.events {
		devices[e.device] = true
		key := [2]string{e.device, e.target}
		if ways[key] == nil {
			ways[key] = &way{}
		}
		w := ways[key]
		switch e.what {
		case "offer":
			out.Offered++
			w.offered = e.at
		case "install":
			out.Installed++
			w.installed = e.at
		case "refuse":
			out.Refused++
		case "rollback":
			out.RolledBack++
			restore = since(restore, w.installed, e.at)
		case "confirm":
			out.Confirmed++
			versions[e.target] = true
			lead = since(lead, w.offered, e.at)
		}
	}
	out.Devices, out.Versions = len(devices), len(versions)
	out.LeadTime, out.Restore = spread(lead), spread(restore)
	if len(d.events) > 0 {
		out.From, out.To = d.events[0].at, d.events[len(d.events)-1].at
		if weeks := out.To.Sub(out.From).Hours() / (24 * 7); weeks > 0 {
			v := float64(out.Versions) / max(weeks, 1.0/7) // less than a day says nothing about a week
			out.PerWeek = &v
		}
	}
	if out.Installed > 0 {
		v := float64(out.RolledBack) / float64(out.Installed)
		out.FailureRate = &v
	}
	return out
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
