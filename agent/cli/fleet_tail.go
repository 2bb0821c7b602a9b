package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"heron/sync/fleet"
	"heron/sync/message"
)

// telemetry hands every record of the streams to take, until ctx ends or d has passed. What cannot be read is told and counted.
func (a *app) telemetry(ctx context.Context, f *fleetFlags, streams []string, d time.Duration, take func(fleet.Line) error) error {
	conf, err := f.config()
	if err != nil {
		return err
	}
	for _, s := range streams {
		if !message.IsSlot(s) {
			return usage("--stream %q: one of %v", s, message.Streams())
		}
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var mu sync.Mutex // after the end, nothing is taken
	over, unreadable := false, 0
	handle := func(m fleet.Message) {
		lines, err := conf.Lines(m)
		mu.Lock()
		defer mu.Unlock()
		if over {
			return
		}
		if err != nil {
			unreadable++
			fmt.Fprintln(a.errOut, "heron:", harmless(err.Error()))
		}
		for _, l := range lines {
			if err := take(l); err != nil {
				over = true
				stop(err)
				return
			}
		}
	}
	err = a.withFleet(ctx, conf, conf.TelemetrySubs(conf.Group, streams), handle, func(ctx context.Context, _ *fleet.Link) error {
		listen(ctx, d)
		return nil
	})
	mu.Lock()
	defer mu.Unlock()
	over = true
	switch {
	case err != nil:
		return ended(err)
	case ended(context.Cause(ctx)) != nil:
		return context.Cause(ctx)
	case unreadable > 0:
		return fmt.Errorf("%d messages could not be read", unreadable)
	}
	return nil
}

func (a *app) fleetTail() *cobra.Command {
	f := &fleetFlags{}
	var streams []string
	var d time.Duration
	c := &cobra.Command{Use: "tail", Short: "Records as they come, a line each", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			e := json.NewEncoder(a.out)
			return a.telemetry(c.Context(), f, streams, d, func(l fleet.Line) error {
				if a.json {
					return e.Encode(l)
				}
				_, err := fmt.Fprintln(a.out, l.Text())
				return err
			})
		}}
	c.Flags().StringSliceVar(&streams, "stream", []string{"event", "alarm", "audit"}, "`streams`: alarm, audit, event, clock, drift, rollup, health, result")
	c.Flags().DurationVar(&d, "for", 0, "end after so long (default: a signal ends it)")
	return f.flags(c)
}

func (a *app) fleetExport() *cobra.Command {
	f := &fleetFlags{}
	var streams []string
	var d time.Duration
	c := &cobra.Command{Use: "export --for DURATION", Short: "Records as they come, as JSON lines for verify, stats and other programs", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			e, n := json.NewEncoder(a.out), 0
			err := a.telemetry(c.Context(), f, streams, d, func(l fleet.Line) error { n++; return e.Encode(l) })
			fmt.Fprintf(a.errOut, "heron: %d records\n", n)
			return err
		}}
	c.Flags().StringSliceVar(&streams, "stream", nil, "`streams` (default: all; verify needs all)")
	c.Flags().DurationVar(&d, "for", 0, "end after so long (default: a signal ends it)")
	return f.flags(c)
}

// records come from files (- is the standard input), or live where none is given.
func (a *app) records(ctx context.Context, f *fleetFlags, files, streams []string, d time.Duration, take func(fleet.Line)) error {
	if len(files) == 0 {
		return a.telemetry(ctx, f, streams, d, func(l fleet.Line) error { take(l); return nil })
	}
	for _, name := range files {
		if err := a.readExport(name, take); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (a *app) readExport(name string, take func(fleet.Line)) error {
	in := a.in
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	return fleet.ReadLines(in, func(l fleet.Line) error { take(l); return nil })
}

func (a *app) fleetVerify() *cobra.Command {
	f := &fleetFlags{}
	var d time.Duration
	c := &cobra.Command{Use: "verify [FILE]...", Short: "Count sequence numbers: what is missing, what came twice and differed", Args: args(cobra.ArbitraryArgs),
		Long: "Counts by (device, epoch, seq), from files that heron fleet export wrote, or live with --for. A number that never came and that no gap record names is missing: exit code 1.\n" +
			"A live count begins and ends in the middle: what is on its way at the end, or is sent late after it, is not in it.",
		RunE: func(c *cobra.Command, files []string) error {
			if len(files) == 0 && d <= 0 {
				return usage("verify: give files of heron fleet export, or --for to listen")
			}
			b := fleet.NewBooks()
			if err := a.records(c.Context(), f, files, nil, d, b.Take); err != nil {
				return err
			}
			return a.printBooks(b.Rows())
		}}
	c.Flags().DurationVar(&d, "for", 0, "listen so long")
	return f.flags(c)
}

func (a *app) printBooks(rows []fleet.Row) error {
	bad := 0
	for _, r := range rows {
		if !r.Good() {
			bad++
		}
	}
	var err error
	if a.json {
		err = json.NewEncoder(a.out).Encode(append([]fleet.Row{}, rows...))
	} else {
		err = booksTable(a.out, rows)
	}
	switch {
	case err != nil:
		return err
	case bad > 0:
		return fmt.Errorf("%d of %d epochs do not add up", bad, len(rows))
	case len(rows) == 0:
		return fmt.Errorf("no records at all")
	}
	return nil
}

func booksTable(out io.Writer, rows []fleet.Row) error {
	cv := &canvas{out: out, size: func() (int, int) { return 0, 0 }}
	table := [][]cell{heads("DEVICE", "EPOCH", "SEQ", "RECORDS", "LATE", "AGAIN", "DIFFER", "GAPS", "MISSING", "")}
	num := func(v uint64) cell { return cell{fmt.Sprint(v), plain} }
	for _, r := range rows {
		verdict, span := []string{}, "-"
		if r.Records > 0 {
			span = fmt.Sprintf("%d…%d", r.First, r.Last)
		}
		for _, h := range r.Holes {
			verdict = append(verdict, fmt.Sprintf("%d…%d", h.From, h.To))
		}
		if r.Unread > 0 {
			verdict = append(verdict, fmt.Sprintf("%d without a sequence number", r.Unread))
		}
		if r.Good() {
			verdict = append(verdict, "ok")
		}
		table = append(table, []cell{{harmless(r.Group + "/" + r.Device), plain}, {harmless(r.Epoch), plain}, {span, plain},
			num(r.Records), num(r.Late), num(r.Duplicates), num(r.Changed), num(r.Owned), num(r.Missing), {strings.Join(verdict, " "), plain}})
	}
	return cv.redraw(cv.table(table))
}

func (a *app) fleetStats() *cobra.Command {
	f := &fleetFlags{}
	var d time.Duration
	c := &cobra.Command{Use: "stats [FILE]...", Short: "Lead time, frequency, failure rate, time to restore, of models", Args: args(cobra.ArbitraryArgs),
		Long: "From audit records in files that heron fleet export wrote, or live with --for.",
		RunE: func(c *cobra.Command, files []string) error {
			if len(files) == 0 && d <= 0 {
				return usage("stats: give files of heron fleet export, or --for to listen")
			}
			s := fleet.NewDeliveries()
			if err := a.records(c.Context(), f, files, []string{string(message.Audit)}, d, s.Take); err != nil {
				return err
			}
			if a.json {
				return json.NewEncoder(a.out).Encode(s.Figures())
			}
			_, err := fmt.Fprint(a.out, figuresText(s.Figures()))
			return err
		}}
	c.Flags().DurationVar(&d, "for", 0, "listen so long")
	return f.flags(c)
}

func figuresText(d fleet.Delivery) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("from", "%s to %s, %d devices, %d records", clockTime(d.From), clockTime(d.To), d.Devices, d.Records)
	row("changes", "%d offered, %d switched, %d confirmed, %d refused before the switch, %d rolled back", d.Offered, d.Installed, d.Confirmed, d.Refused, d.RolledBack)
	row("lead time", "%s (offered to confirmed, per device)", spreadText(d.LeadTime))
	if d.PerWeek != nil {
		row("frequency", "%.1f versions a week (%d in all)", *d.PerWeek, d.Versions)
	} else {
		row("frequency", "unknown (%d versions)", d.Versions)
	}
	if d.FailureRate != nil {
		row("failure rate", "%.1f %% of the switches were taken back", 100**d.FailureRate)
	} else {
		row("failure rate", "unknown: nothing was switched")
	}
	row("time to restore", "%s (switch to the previous model running again)", spreadText(d.Restore))
	w.Flush()
	return b.String()
}

func spreadText(s *fleet.Spread) string {
	if s == nil {
		return "unknown"
	}
	return fmt.Sprintf("median %s, p95 %s, most %s, of %d", seconds(s.Median), seconds(s.P95), seconds(s.Max), s.N)
}
