package message

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"heron/internal/clock"
)

var update = flag.Bool("update", false, "write the golden files anew")

var at = Stamp{T: time.Date(2026, 11, 20, 13, 0, 0, 1e8, time.UTC), Mono: 812345 * time.Millisecond}

// samples are the records of each golden file: with everything, and with as little as there can be.
func samples() map[Stream][]Record {
	later := at.T.Add(time.Minute)
	return map[Stream][]Record{
		Result: {
			ResultRecord{Stamp: at, Camera: "front", Frame: 7, Name: "b 1.png", Model: "bottles@1.4.2#9f86d0", Engine: "onnx", LatMS: 3.14159, AgeMS: 12.4, Top: []Score{{"scratched", 0.91234}, {"ok", 0.06}}, Facts: []string{"blurred"}},
			ResultRecord{Stamp: at, Camera: "front", Frame: 8, Model: "bottles@1.4.2#9f86d0", Engine: "onnx", Facts: []string{"black"}},
			ResultRecord{Stamp: at, Camera: "front", Frame: 9, Model: "bottles@1.4.2#9f86d0", Engine: "onnx", Error: "inference: out of memory"},
		},
		Event: {
			EventRecord{Stamp: at, Camera: "front", Label: "scratched", State: "enter", Score: 0.91, DwellMS: 0, Frames: 2, Engine: "onnx", Model: "bottles@1.4.2#9f86d0"},
			EventRecord{Stamp: at, Camera: "front", Label: "scratched", State: "exit", Score: 0.2, DwellMS: 4200, Frames: 42, Model: "bottles@1.4.2#9f86d0"},
		},
		Alarm: {
			AlarmRecord{Stamp: at, Code: "camera-stalled", Severity: "critical", Text: "camera front has sent no frame for 5 s", Camera: "front", Since: at.T.Add(-5 * time.Second), NextStep: "check the cable"},
			AlarmRecord{Stamp: at, Code: "link-down", Severity: "warning", Text: "no link", Since: at.T, Cleared: true},
		},
		Rollup: {
			RollupRecord{Stamp: at, Camera: "front", Model: "bottles@1.4.2#9f86d0", Engine: "onnx", From: at.T, To: later, N: 600, Lat: Latency{2.9, 3.14159, 3.1, 4.2, 6, 9.87}, Labels: map[string]int{"ok": 590, "empty": 10},
				Conf: Histogram{Edges: []float64{0, 0.5, 1}, N: []int{4, 596}}, Unknown: 4, Quality: map[string]int{"blurred": 3}, Dropped: map[string]int{"slow": 12}},
			RollupRecord{Stamp: at, Camera: "front", Model: "bottles@1.4.2#9f86d0", Engine: "onnx", From: at.T, To: later},
		},
		Health: {
			HealthRecord{Stamp: at, State: "degraded", Reasons: []string{"link-down"}, UptimeS: 3600, CPU: 0.8765, RSS: &RSS{20 << 20, 90 << 20}, TempC: ptr(61.25), Throttled: ptr(true), UnderVoltage: ptr(false), DiskFree: 12 << 30, Backlog: Backlog{1200, 34567, 60}, Link: LinkUse{123456, 50 << 20, 12 << 20}, Written: 4 << 20, Vision: VisionPart{"ok", 1, "stalled"}},
			HealthRecord{Stamp: at, State: "ok", Vision: VisionPart{State: "ok"}},
		},
		Audit: {
			AuditRecord{Stamp: at, Who: "config", What: "load", Target: "heron.yaml", Rev: 4, Digest: "9f86d0", Result: "succeeded", Detail: "2 cameras"},
			AuditRecord{Stamp: at, Who: "config", What: "load", Result: "failed"},
			GapRecord{Stamp: at, Gap: Gap{From: 8012, To: 9000, Reason: "restart", LostAtMost: 70}},
			GapRecord{Stamp: at, Gap: Gap{Reason: "full", LostAtMost: 500, Stream: Result}},
		},
		Clock: {ClockRecord{Stamp: at, Boot: "3f9ac1", Wall: later, StepMS: -1500, Source: "kernel"}},
	}
}

func ptr[T any](v T) *T { return &v }

// seal makes the envelope of one stream's samples.
func seal(stream Stream, records []Record) []byte {
	var s Sealer
	s.Begin(Header{Group: "acme", Device: "dev-0042", Epoch: "9c21", Boot: "3f9ac1", Agent: "1.2.0", ConfigRev: 4, Clock: clock.Quality{Sync: true, ErrMS: 12}}, stream, 184467, at.T)
	for i, r := range records {
		s.Add(184467+uint64(i), r.AppendJSON(nil))
	}
	return s.End()
}

func documents() map[string]any {
	return map[string]any{
		"state": State{V: 1, Status: "online", Session: 812, Boot: "3f9ac1", Since: at.T, Reason: "start", Agent: "1.2.0"},
		"info": Info{V: 1, Agent: "1.2.0", Hardware: "Raspberry Pi 5", OS: "Debian 12", Arch: "arm64", Cameras: []InfoCamera{{"front", "v4l2:/dev/video0"}},
			Engines: []InfoEngine{{Engine: "onnx", Usable: true, Version: "1.24.3"}, {Engine: "edgetpu", Reason: "no device"}}, Commands: []string{}, Schemas: map[string]int{"result": 1}, Extra: json.RawMessage(`{"site":"lyon-1"}`)},
		"desired": Desired{V: 1, Rev: 17, IssuedAt: at.T, IssuedBy: "anna@laptop", Models: []DesiredModel{
			{Slot: "main", Target: "bottles/1.4.2", Rollout: &Rollout{Percent: ptr(20.0), Salt: "2026-47", NotBefore: at.T, Window: "22:00-05:00", Labels: map[string]string{"site": "lyon-*"}}, Shadow: ptr(Duration(10 * time.Minute)), Probation: ptr(Duration(15 * time.Minute))},
			{Slot: "caps", Target: "caps/2.0.0"},
		}, Config: &DesiredConfig{Rev: 4, Patch: json.RawMessage(`{"log":{"level":"debug"}}`)}, Firmware: &DesiredFirmware{Target: "heron/1.3.0"}},
		"reported": Reported{V: 1, At: at.T, Rev: 17, GroupRev: 3, Error: "group: models[0].slot: \"A\"", Slots: []ReportedSlot{
			{Slot: "main", Source: "device", Rev: 17, Target: "bottles/1.4.2", Active: &ReportedModel{Target: "bottles/1.4.1", Name: "bottles", Version: "1.4.1", Digest: strings.Repeat("9f", 32), Engine: "onnx", Since: at.T},
				Staged: &ReportedModel{Target: "bottles/1.4.2", Name: "bottles", Version: "1.4.2"}, Previous: &ReportedModel{Name: "bottles", Version: "1.4.0"}, Step: StepFetched, Percent: 40, Since: at.T, Error: "server busy",
				Refused: []Refusal{{Target: "bottles/1.3.9", Digest: strings.Repeat("0a", 32), Step: StepTried, Reason: "golden/2.png: ok where scratched was expected", At: at.T}}},
			{Slot: "caps", Source: "group", Rev: 3, Target: "caps/2.0.0", Step: StepWaiting, Decision: "outside-window"},
		}, Config: &ReportedConfig{Rev: 4, Source: "device", State: ConfigProbation, Until: at.T.Add(10 * time.Minute)}, Firmware: &ReportedFirmware{Target: "heron/1.3.0", State: "idle"}, Hold: &Hold{Until: at.T.Add(2 * time.Hour), By: "ben", Reason: "repair"}},
		"cmd": Command{V: 1, ID: "01JD4ZQ8", ExpiresAt: at.T.Add(time.Minute), IssuedAt: at.T, IssuedBy: "anna@laptop", Args: json.RawMessage(`{"camera":"front"}`)},
		"res": Answer{V: 1, ID: "01JD4ZQ8", Status: StatusFailed, At: at.T, Phase: "upload", Percent: 30, Code: "failed", Message: "PUT: 403", Data: json.RawMessage(`{"sha256":"9f86d0"}`)},
	}
}

// strict compiles a schema so that it also refuses fields it does not name: what we write ourselves must all be described.
func strict(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	b, err := Schema(name)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	closeObjects(doc)
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(name+".json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeObjects(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["properties"]; ok {
			v["additionalProperties"] = false
		}
		for _, e := range v {
			closeObjects(e)
		}
	case []any:
		for _, e := range v {
			closeObjects(e)
		}
	}
}

func validate(t *testing.T, name string, data []byte) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	if name == "envelope" { // its records are open: each stream has a schema of its own
		for _, r := range v.(map[string]any)["data"].(map[string]any)["recs"].([]any) {
			clear(r.(map[string]any))
			r.(map[string]any)["seq"] = json.Number("1")
		}
	}
	if err := strict(t, name).Validate(v); err != nil {
		t.Errorf("%s: %v\n%s", name, err, data)
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; write it with: go test ./sync/message -update", err)
	}
	if string(got)+"\n" != string(want) {
		t.Errorf("%s:\ngot  %s\nwant %s", path, got, want)
	}
}

func TestEveryStreamHasItsSchemaAndGoldenFile(t *testing.T) {
	all := samples()
	for _, stream := range Streams() {
		if stream == Drift { // no records yet
			continue
		}
		t.Run(string(stream), func(t *testing.T) {
			env := seal(stream, all[stream])
			golden(t, string(stream), env)
			validate(t, "envelope", env)
			var b Batch
			if err := json.Unmarshal(env, &b); err != nil {
				t.Fatal(err)
			}
			if len(b.Data.Records) == 0 {
				t.Fatal("no samples")
			}
			for i, r := range b.Data.Records {
				validate(t, string(stream), r)
				if all[stream][i].Stream() != stream {
					t.Errorf("record %d is of stream %s", i, all[stream][i].Stream())
				}
			}
		})
	}
}

func TestDocumentsHaveTheirSchemas(t *testing.T) {
	for name, doc := range documents() {
		b, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, b)
		validate(t, name, b)
	}
}

func TestEveryGoldenFileBelongsToASchema(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".json"); !slices.Contains(SchemaNames(), name) {
			t.Errorf("%s has no schema", f)
		}
	}
	if _, err := Schema("../record.go"); err == nil {
		t.Error("a schema outside the folder was found")
	}
}

// What is not a number must not break the JSON, nor the schema.
func TestNotANumber(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, r := range []Record{
		ResultRecord{Stamp: at, LatMS: nan, AgeMS: inf, Top: []Score{{"a", nan}}},
		EventRecord{Stamp: at, Score: nan}, RollupRecord{Stamp: at, Lat: Latency{Max: inf}}, HealthRecord{Stamp: at, CPU: nan},
	} {
		var s Sealer
		s.Begin(Header{}, r.Stream(), 1, at.T)
		s.Add(1, r.AppendJSON(nil))
		var b Batch
		if err := json.Unmarshal(s.End(), &b); err != nil {
			t.Fatalf("%T: %v", r, err)
		}
		validate(t, string(r.Stream()), b.Data.Records[0])
	}
}

// The schemas must refuse something, or they say nothing.
func TestSchemasRefuse(t *testing.T) {
	for name, bad := range map[string]string{
		"result": `{"seq":1,"t":"2026-11-20T13:00:00.100Z","mono_ms":1,"cam":"front"}`,
		"event":  `{"seq":1,"t":"2026-11-20T13:00:00.100Z","mono_ms":1,"cam":"front","label":"a","state":"gone","score":1,"dwell_ms":1,"frames":1,"model":"m"}`,
		"state":  `{"v":1,"status":"online","session":0,"boot":"","since":"2026-11-20T13:00:00Z","reason":"start","agent":""}`,
		"audit":  `{"seq":1,"t":"2026-11-20T13:00:00.100Z","mono_ms":1}`,
		"clock":  `{"seq":0,"t":"2026-11-20 13:00:00","mono_ms":1,"boot":"","wall":"","step_ms":0,"source":""}`,
	} {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(bad))
		if err != nil {
			t.Fatal(err)
		}
		if strict(t, name).Validate(v) == nil {
			t.Errorf("%s accepts %s", name, bad)
		}
	}
}
