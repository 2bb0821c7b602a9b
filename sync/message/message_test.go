package message

import (
	"encoding/json"
	"testing"
	"time"
)

func TestSealedGroupIsOneEnvelope(t *testing.T) {
	at := Stamp{T: time.Date(2026, 11, 20, 13, 0, 0, 1e8, time.UTC), Mono: 812345 * time.Millisecond}
	r := ResultRecord{Stamp: at, Camera: "front", Frame: 7, Model: "bottles@1.4.2#9f86d0", Engine: "onnx", LatMS: 3.14159, AgeMS: 12.4, Top: []Score{{"scratched", 0.91234}, {"ok \"x\"", 0.06}}}
	var s Sealer
	s.Begin(Header{Group: "acme", Device: "dev-0042", Epoch: "9c21", Boot: "3f9ac1", Agent: "1.2.0", ConfigRev: 4}, Result, 184467, at.T)
	s.Add(184467, r.AppendJSON(nil))
	s.Add(184468, GapRecord{Stamp: at, Gap: Gap{From: 1, To: 2, Reason: "restart"}}.AppendJSON(nil))
	out := string(s.End())
	const want = `{"specversion":"1.0","id":"dev-0042:9c21:184467","source":"/heron/acme/dev-0042","type":"heron.result.v1","time":"2026-11-20T13:00:00.100Z","data":{"epoch":"9c21","boot":"3f9ac1","clk":{"sync":false},"agent":"1.2.0","config_rev":4,"recs":[{"seq":184467,"t":"2026-11-20T13:00:00.100Z","mono_ms":812345,"cam":"front","frame":7,"model":"bottles@1.4.2#9f86d0","engine":"onnx","lat_ms":3.1,"age_ms":12,"top":[["scratched",0.912],["ok \"x\"",0.06]]},{"seq":184468,"t":"2026-11-20T13:00:00.100Z","mono_ms":812345,"gap":{"from":1,"to":2,"reason":"restart","lost_at_most":0}}]}}`
	if out != want {
		t.Errorf("got  %s\nwant %s", out, want)
	}
	var b Batch
	if err := json.Unmarshal([]byte(out), &b); err != nil {
		t.Fatal(err)
	}
	if n, err := Seq(b.Data.Records[1]); n != 184468 || err != nil {
		t.Errorf("seq %d, %v", n, err)
	}
}
