package status

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// What updates cost is on the page and in the metrics, and only where something bounds it.
func TestWhatUpdatesCost(t *testing.T) {
	d := &device{}
	s := serve(t, d)
	snap := working(noon)
	d.set(snap)
	for _, path := range []string{"/metrics", "/"} {
		if _, body, _ := ask(t, s, "GET", path); strings.Contains(body, "pdates today") || strings.Contains(body, "heron_updates") {
			t.Errorf("%s tells of a budget that is not there", path)
		}
	}
	snap.Uplink.Updates = &Budget{Day: 51 << 20, PerDay: 50 << 20, Month: 300 << 20, PerMonth: 1 << 30, Link: "wwan0", Metered: true, Code: "day", Why: "spent", Trouble: "the ledger <was> damaged"}
	d.set(snap)
	for path, want := range map[string][]string{
		"/": {"<dt>Updates today</dt><dd>51.0 MiB of 50.0 MiB</dd>", "<dt>Updates this month</dt><dd>300 MiB of 1.0 GiB</dd>", "wwan0 (metered)", "the ledger &lt;was&gt; damaged"},
		"/metrics": {`heron_updates_spent_bytes{period="day"} 5.3477376e+07`, `heron_updates_budget_bytes{period="month"} 1.073741824e+09`,
			`heron_updates_waiting{reason="day"} 1`, `heron_updates_waiting{reason="clock"} 0`},
		"/api/v1/status": {`"per_day":52428800`, `"code":"day"`},
	} {
		_, body, _ := ask(t, s, "GET", path)
		for _, w := range want {
			if !strings.Contains(strings.ReplaceAll(body, `": `, `":`), w) {
				t.Errorf("%s does not say %s", path, w)
			}
		}
		if path != "/metrics" {
			continue
		}
		if problems, err := promlint.New(strings.NewReader(body)).Lint(); err != nil || len(problems) > 0 {
			t.Errorf("%v %v", problems, err)
		}
	}
}
