package status

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// collector turns a Snapshot into metrics at each scrape, so that the numbers here and on the page are the same ones.
//
// Labels are configured names (camera, slot) or words from fixed lists (cause, reason, stream, state, code, engine),
// never labels of models, file names or messages: their number is bounded by the configuration.
type collector struct{ s *Server }

// Describe tells nothing, which makes this an unchecked collector: which series exist depends on the configuration.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect asks for one Snapshot and sends its metrics.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	snap := c.s.take()
	m := &metrics{ch: ch}
	m.health(&snap)
	for i := range snap.Cameras {
		m.camera(&snap.Cameras[i])
	}
	m.inference(&snap)
	m.vision(&snap.Vision)
	m.events(&snap.Events)
	m.outbox(&snap.Outbox)
	m.uplink(&snap.Uplink)
	m.board(&snap.Board)
	m.process(&snap.Process)
	m.live(&snap.Live)
	m.counter("heron_status_connections_refused_total", "Connections to the status page closed because too many were open.", float64(c.s.RefusedConns()))
}

// Metrics is what /metrics says now.
func (s *Server) Metrics() ([]byte, error) {
	w := &answer{head: http.Header{}}
	r, err := http.NewRequest(http.MethodGet, "/metrics", nil)
	if err != nil {
		return nil, err
	}
	s.metrics.ServeHTTP(w, r)
	if w.code != 0 && w.code != http.StatusOK {
		return nil, fmt.Errorf("metrics: HTTP %d: %.200s", w.code, w.Bytes())
	}
	return w.Bytes(), nil
}

// answer is a response in memory.
type answer struct {
	bytes.Buffer
	head http.Header
	code int
}

func (a *answer) Header() http.Header { return a.head }
func (a *answer) WriteHeader(c int)   { a.code = c }

type metrics struct{ ch chan<- prometheus.Metric }

func (m *metrics) gauge(name, help string, v float64, labels ...string) {
	m.send(prometheus.GaugeValue, name, help, v, labels)
}

func (m *metrics) counter(name, help string, v float64, labels ...string) {
	m.send(prometheus.CounterValue, name, help, v, labels)
}

// send takes labels as name, value, name, value, …
func (m *metrics) send(kind prometheus.ValueType, name, help string, v float64, labels []string) {
	m.ch <- prometheus.MustNewConstMetric(desc(name, help, labels), kind, v, valuesOf(labels)...)
}

func desc(name, help string, labels []string) *prometheus.Desc {
	var names []string
	for i := 0; i < len(labels); i += 2 {
		names = append(names, labels[i])
	}
	return prometheus.NewDesc(name, help, names, nil)
}

func valuesOf(labels []string) (values []string) {
	for i := 1; i < len(labels); i += 2 {
		values = append(values, clean(labels[i]))
	}
	return values
}

// oneOf sends a gauge for each word of the list, 1 for the one that holds.
func (m *metrics) oneOf(name, help, label, now string, words ...string) {
	for _, w := range words {
		m.gauge(name, help, truth(w == now), label, w)
	}
}

// each sends a counter for each key, in order.
func each[V int64 | uint64](send func(name, help string, v float64, labels ...string), name, help, label string, by map[string]V) {
	for _, k := range slices.Sorted(maps.Keys(by)) {
		send(name, help, float64(by[k]), label, k)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (m *metrics) health(s *Snapshot) {
	m.gauge("heron_build_info", "Version of the agent; always 1.", 1, "version", s.Device.Agent, "goversion", s.Process.Version)
	m.oneOf("heron_state", "Health of the device: 1 for the state it is in.", "state", s.State, OK, Degraded, Failed)
	told := map[string]bool{}
	for _, r := range s.Reasons {
		if told[r.Code] { // two cameras may have the same trouble
			continue
		}
		told[r.Code] = true
		m.gauge("heron_reason", "Reasons why the state is not ok; 1 while a reason holds.", 1, "code", r.Code)
	}
}

func (m *metrics) camera(c *Camera) {
	cam := []string{"camera", c.Name}
	m.gauge("heron_camera_up", "Whether the camera is open and delivers frames (1) or not (0).", truth(c.State == "running"), cam...)
	m.counter("heron_frames_total", "Frames read from the camera.", float64(c.Frames), cam...)
	m.counter("heron_frames_dropped_total", "Frames replaced by a newer one before they were looked at.", float64(c.Dropped), cam...)
	m.counter("heron_frames_classified_total", "Frames that were classified.", float64(c.Inferred), cam...)
	m.counter("heron_camera_reopened_total", "Times the camera was opened anew.", float64(c.Reopened), cam...)
	m.counter("heron_camera_errors_total", "Failed reads from the camera and failed openings.", float64(c.Errors), cam...)
	m.counter("heron_camera_clock_jumps_total", "Times the camera's own timestamps went back or jumped.", float64(c.ClockJumps), cam...)
	if c.FPSWanted > 0 {
		m.gauge("heron_camera_target_fps", "Frames of the camera to be classified a second, at most; less than configured while it is slowed down; absent while every frame of a camera is wanted that has not delivered yet.", c.FPSNow, cam...)
	}
	if c.FrameAgeS >= 0 {
		m.gauge("heron_frame_age_seconds", "Age of the newest frame; absent before the first.", c.FrameAgeS, cam...)
	}
}

func (m *metrics) inference(s *Snapshot) {
	for _, e := range distinct(s.Engines) {
		m.gauge("heron_engine_usable", "Whether the engine could run here (1) or not (0).", truth(e.Usable), "engine", e.Engine)
		m.gauge("heron_engine_active", "Whether the engine is in use (1) or not (0).", truth(e.InUse), "engine", e.Engine)
	}
	m.counter("heron_engine_fallbacks_total", "Engines that were lost and replaced by the next one.", float64(s.Vision.Fallbacks))
	m.counter("heron_engine_returns_total", "Engines taken back into use because they work again.", float64(s.Vision.Returns))
	for i := range s.Models {
		mod := &s.Models[i]
		m.gauge("heron_model_info", "The model of each slot; 1 while it is live, 0 otherwise.", truth(mod.State == "live"),
			"slot", mod.Slot, "name", mod.Name, "version", mod.Version, "engine", mod.Engine, "device", mod.Device)
		m.counter("heron_inference_errors_total", "Inferences that failed.", float64(mod.Errors), "slot", mod.Slot)
		if h := mod.Latency; h != nil && len(h.Counts) == len(h.Bounds)+1 {
			slot := []string{"slot", mod.Slot}
			d := desc("heron_inference_seconds", "Time of one inference, without preprocessing.", slot)
			m.ch <- prometheus.MustNewConstHistogram(d, h.Count(), h.Sum, h.cumulative(), valuesOf(slot)...)
		}
	}
}

// distinct has each engine once: one engine on two devices is one series, usable and active where any of them is.
func distinct(all []Engine) []Engine {
	var out []Engine
	for _, e := range all {
		i := slices.IndexFunc(out, func(o Engine) bool { return o.Engine == e.Engine })
		if i < 0 {
			out = append(out, e)
			continue
		}
		out[i].Usable = out[i].Usable || e.Usable
		out[i].InUse = out[i].InUse || e.InUse
	}
	return out
}

func (m *metrics) vision(v *Vision) {
	m.gauge("heron_vision_up", "Whether heron-vision runs with all its models loaded (1) or not (0).", truth(v.State == "running"))
	each(m.counter, "heron_vision_restarts_total", "Replacements of the heron-vision process, by cause.", "cause", v.ByCause)
	m.gauge("heron_vision_resident_memory_bytes", "Resident memory of heron-vision.", float64(v.RSS))
}

func (m *metrics) events(e *Events) {
	const help = "Events told, by state."
	m.counter("heron_events_total", help, float64(e.Entered), "state", "enter")
	m.counter("heron_events_total", help, float64(e.Exited), "state", "exit")
	m.counter("heron_events_total", help, float64(e.Still), "state", "still")
	m.counter("heron_events_suppressed_total", "Events not told because the label was in its cooldown.", float64(e.Suppressed))
	m.counter("heron_frames_unfit_total", "Frames without a usable answer.", float64(e.Unfit))
	m.counter("heron_clock_jumps_total", "Times events began anew because a camera's clock went back or jumped.", float64(e.ClockJumps))
}

func (m *metrics) outbox(o *Outbox) {
	m.oneOf("heron_outbox_state", "State of the outbox: 1 for the one it is in.", "state", o.State, "opening", "ok", "memory", "failed")
	m.gauge("heron_outbox_records", "Records that wait to be delivered.", float64(o.Records))
	each(m.gauge, "heron_outbox_stream_records", "Records that wait to be delivered, by stream; absent for streams where none does.", "stream", o.ByStream)
	m.gauge("heron_outbox_bytes", "Bytes of the records that wait, compressed.", float64(o.Bytes))
	m.gauge("heron_outbox_oldest_seconds", "Age of the oldest record that waits; 0 when none does.", o.OldestS)
	m.gauge("heron_outbox_file_bytes", "Size of the outbox's file.", float64(o.FileBytes))
	m.counter("heron_outbox_acked_total", "Records acknowledged by the broker.", float64(o.Acked))
	each(m.counter, "heron_outbox_dropped_total", "Records that were lost, by reason.", "reason", o.Dropped)
	m.counter("heron_outbox_commits_total", "Transactions written to the disk.", float64(o.Commits))
	m.counter("heron_outbox_written_bytes_total", "Bytes written to the disk.", float64(o.Written))
	m.counter("heron_outbox_quarantined_total", "Damaged files that were set aside.", float64(o.Quarantined))
	m.counter("heron_outbox_salvaged_total", "Records saved from damaged files.", float64(o.Salvaged))
	m.gauge("heron_outbox_dead_records", "Records that the broker refuses for ever.", float64(o.Dead))
}

func (m *metrics) uplink(u *Uplink) {
	m.gauge("heron_uplink_up", "Whether the broker is connected (1) or not (0).", truth(u.State == "online"))
	m.oneOf("heron_uplink_state", "State of the link: 1 for the one it is in.", "state", u.State, "off", "offline", "connecting", "online", "refused")
	const help = "Bytes on the link, by direction."
	m.counter("heron_uplink_bytes_total", help, float64(u.BytesTotal.Up), "direction", "up")
	m.counter("heron_uplink_bytes_total", help, float64(u.BytesTotal.Down), "direction", "down")
	m.counter("heron_uplink_acked_total", "Records acknowledged by the broker.", float64(u.Acked))
	m.counter("heron_uplink_resent_total", "Records sent more than once.", float64(u.Resent))
	m.counter("heron_uplink_connects_total", "Connections made to the broker.", float64(u.Connects))
	m.gauge("heron_uplink_in_flight", "Messages sent and not yet acknowledged.", float64(u.InFlight))
	m.updates(u.Updates)
	m.gauge("heron_uplink_rtt_seconds", "Recent time from sending a message to its acknowledgement.", u.RTTMS/1000)
}

// updates tells what new models cost; without a budget there is nothing to tell.
func (m *metrics) updates(b *Budget) {
	if b == nil {
		return
	}
	for _, p := range []struct {
		period      string
		spent, most int64
	}{{"day", b.Day, b.PerDay}, {"month", b.Month, b.PerMonth}} {
		if p.most > 0 {
			m.gauge("heron_updates_budget_bytes", "Bytes that updates may cost in a period; absent where there is no bound.", float64(p.most), "period", p.period)
			m.gauge("heron_updates_spent_bytes", "Of them spent in the present period.", float64(p.spent), "period", p.period)
		}
	}
	m.oneOf("heron_updates_waiting", "Whether an update waits (1), by what it waits for.", "reason", b.Code, "day", "month", "metered", "clock", "ledger")
}

// live counts what was made for viewers and sent to them; pictures of /snapshot are apart.
func (m *metrics) live(l *Live) {
	m.gauge("heron_stream_viewers", "Live views open.", float64(l.Viewers))
	m.counter("heron_stream_frames_total", "Pictures sent to viewers of live view.", float64(l.Frames))
	m.counter("heron_stream_bytes_total", "Bytes of pictures sent to viewers of live view.", float64(l.Bytes))
	m.counter("heron_stream_refused_total", "Live views refused because too many were open.", float64(l.Refused))
	m.counter("heron_stream_encodes_total", "Pictures encoded for live view, once for all who see them.", float64(l.Encodes))
}

func (m *metrics) board(b *Board) {
	for _, z := range b.Zones {
		m.gauge("heron_board_temperature_celsius", "Temperature of each zone of the board.", z.C, "zone", z.Zone)
	}
	if b.Throttled != nil {
		m.gauge("heron_board_throttled", "Whether the board holds its clocks back (1) or not (0); absent where it does not say.", truth(*b.Throttled))
	}
	if b.UnderVoltage != nil {
		m.gauge("heron_board_under_voltage", "Whether the board's supply is too weak (1) or not (0); absent where it does not say.", truth(*b.UnderVoltage))
	}
}

func (m *metrics) process(p *Process) {
	m.gauge("process_resident_memory_bytes", "Resident memory of the agent.", float64(p.RSS))
	m.counter("process_cpu_seconds_total", "CPU time of the agent, user and system.", p.CPUS)
	m.gauge("go_goroutines", "Goroutines of the agent.", float64(p.Goroutines))
	if p.FDs > 0 {
		m.gauge("process_open_fds", "File descriptors that the agent has open.", float64(p.FDs))
	}
}

// clean makes a label's value valid UTF-8; names may come from a configuration file in any encoding.
func clean(v string) string { return strings.ToValidUTF8(v, "\uFFFD") }

// cumulative is the form of Prometheus: how many were ≤ each bound.
func (h *Histogram) cumulative() map[float64]uint64 {
	m := make(map[float64]uint64, len(h.Bounds))
	var n uint64
	for i, b := range h.Bounds {
		n += h.Counts[i]
		m[b] = n
	}
	return m
}
