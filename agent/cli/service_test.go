package cli

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"heron/agent/status"
	"heron/demo/cloud"
	"heron/internal/freeport"
	"heron/sync/outbox"
)

// nobody is an address where no broker is.
const nobody = "mqtt://127.0.0.1:1"

// newCloud is a broker with a ledger behind it.
func newCloud(t *testing.T) (*cloud.Broker, *cloud.Ledger) {
	t.Helper()
	ledger, err := cloud.NewLedger(func(cloud.Result) {})
	if err != nil {
		t.Fatal(err)
	}
	b := cloud.NewBroker("127.0.0.1:0", ledger.Take)
	if err := b.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop() })
	return b, ledger
}

func TestOutageWithTwoKillsLosesNoSequenceNumber(t *testing.T) {
	t.Parallel()
	b, ledger := newCloud(t)
	f := newField(t, b.URL(), "pictures:pictures?loop=true")
	s := f.start(t)
	f.until(t, "results arrive", func(*status.Snapshot) bool { return ledger.Totals().Live > 20 })
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var before int64 = -1
		f.until(t, "results are kept while the broker is away", func(s *status.Snapshot) bool {
			if s.Uplink.State != "online" && before < 0 {
				before = s.Outbox.Bytes
			}
			return before >= 0 && s.Outbox.Bytes > before+500 // sealed, and so on the disk
		})
		s.end(t, syscall.SIGKILL)
		s = f.start(t)
		f.until(t, "classifies again", classifying)
	}
	if err := b.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	f.until(t, "the backlog is delivered", func(s *status.Snapshot) bool {
		return s.Uplink.State == "online" && ledger.Totals().Late > 20 && s.Outbox.OldestS < 8
	})
	if code := s.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("SIGTERM: exit %d", code)
	}
	l := ledger.Totals()
	if l.Holes != 0 || l.Changed != 0 || l.Unreadable != 0 || l.Epochs != 1 || l.Late == 0 {
		t.Errorf("the cloud's books: %+v", l)
	}
	if l.Device != "offline" {
		t.Errorf("after a clean stop the device is %q", l.Device)
	}
}

func TestUntilDrainedDeliversEveryPictureAndEnds(t *testing.T) {
	b, ledger := newCloud(t)
	f := newField(t, b.URL(), "pictures:pictures")
	s := f.start(t, "--until-drained")
	timer := time.AfterFunc(60*time.Second, func() { _ = s.Process.Kill() })
	defer timer.Stop()
	if err := s.Wait(); err != nil {
		t.Fatalf("%v", err)
	}
	if l := ledger.Totals(); l.Live+l.Late != 3 || l.Holes != 0 {
		t.Errorf("want the 3 pictures, the cloud's books say %+v", l)
	}
}

func TestFault_M4_VisionKilledAndStoppedIsReplacedAndNamed(t *testing.T) {
	t.Parallel()
	f := newField(t, nobody, "pictures:pictures?loop=true")
	f.start(t)
	for _, c := range []struct {
		sig   syscall.Signal
		cause string
	}{{syscall.SIGKILL, "exit"}, {syscall.SIGSTOP, "stopped"}} {
		before := f.until(t, "classifies", classifying)
		if err := syscall.Kill(before.Vision.PID, c.sig); err != nil {
			t.Fatal(err)
		}
		after := f.until(t, c.cause+": replaced", func(s *status.Snapshot) bool {
			return s.Vision.Restarts > before.Vision.Restarts && s.Vision.PID != before.Vision.PID && s.Cameras[0].Inferred > before.Cameras[0].Inferred+3
		})
		if after.Vision.LastCause != c.cause || after.Vision.ByCause[c.cause] == 0 || after.Vision.LastReason == "" {
			t.Errorf("%v: the page says %+v", c.sig, after.Vision)
		}
		if after.State != "degraded" || len(after.Reasons) == 0 {
			t.Errorf("%v: state %s, reasons %+v", c.sig, after.State, after.Reasons)
		}
	}
	if _, body := get(t, f.page, "/metrics"); !strings.Contains(body, `heron_vision_restarts_total{cause="stopped"} 1`) {
		t.Error("the metrics do not name the cause")
	}
}

func TestPageAnswersEverywhere(t *testing.T) {
	f := newField(t, nobody, "pictures:pictures?loop=true")
	f.start(t)
	f.until(t, "classifies", classifying)
	for path, want := range map[string]string{"/": "front", "/healthz": "", "/readyz": "", "/metrics": "heron_frames_total", "/snapshot/front.jpg": "\xff\xd8"} {
		if code, body := get(t, f.page, path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d, %.80q", path, code, body)
		}
	}
	out, _, code := heron(t, "status", "--config", f.conf)
	if code != 0 || !strings.Contains(out, "camera front") {
		t.Errorf("status: exit %d, %s", code, out)
	}
	if _, _, code = heron(t, "status", "--address", freeport.Address(t)); code != 3 {
		t.Errorf("status where nobody answers: exit %d, want 3", code)
	}
	if _, msg, code := heron(t, "run", "--config", f.conf); code != 2 || !strings.Contains(msg, f.page) {
		t.Errorf("a second heron at the same address: exit %d, %q", code, msg)
	}
}

func get(t *testing.T, address, path string) (int, string) {
	t.Helper()
	c := http.Client{Timeout: 10 * time.Second}
	r, err := c.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(b)
}

func TestCoveredPictureIsTold(t *testing.T) {
	f := newField(t, nobody, "pictures:pictures?loop=true")
	for _, name := range []string{"0.png", "1.png", "2.png"} {
		f.picture(t, name, covered())
	}
	f.start(t)
	s := f.until(t, "the lens is covered", func(s *status.Snapshot) bool { return len(s.Reasons) > 0 && s.Cameras[0].Last != nil })
	if s.Reasons[0].Code != "camera-covered" || s.State != "degraded" {
		t.Errorf("state %s, reasons %+v, last %+v", s.State, s.Reasons, s.Cameras[0].Last)
	}
}

func TestBadModelNeverStopsTheService(t *testing.T) {
	for name, spoil := range map[string]func(f field){
		"no such bundle":  func(f field) { os.RemoveAll(filepath.Join(f.dir, "bundle")) },
		"no labels":       func(f field) { os.Remove(filepath.Join(f.dir, "bundle/labels.txt")) },
		"broken manifest": func(f field) { os.WriteFile(filepath.Join(f.dir, "bundle/manifest.json"), []byte(`{"v":1,`), 0o600) },
		"broken weights":  func(f field) { os.WriteFile(filepath.Join(f.dir, "bundle/answers.json"), []byte(`{]`), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newField(t, nobody, "pictures:pictures?loop=true")
			spoil(f)
			s := f.start(t)
			snap := f.until(t, "the model is refused", func(s *status.Snapshot) bool { return len(s.Models) == 1 && s.Models[0].Refusal != nil })
			if r := snap.Models[0].Refusal; r.Reason == "" || strings.Contains(r.Reason, "\n") {
				t.Errorf("refusal %+v", r)
			}
			if code := s.end(t, syscall.SIGTERM); code != 0 {
				t.Errorf("exit %d", code)
			}
		})
	}
}

func TestFault_Y4_SIGTERMKeepsWhatWasSeen(t *testing.T) {
	f := newField(t, nobody, "pictures:pictures?loop=true")
	s := f.start(t)
	snap := f.until(t, "classifies", classifying)
	if code := s.end(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("exit %d", code)
	}
	r, err := outbox.Verify(filepath.Join(f.dir, "state/outbox.db"))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Records["result"]; got < int64(snap.Cameras[0].Inferred) || !r.Clean || r.Damaged != 0 {
		t.Errorf("%d results on the disk after %d were made: %+v", got, snap.Cameras[0].Inferred, r)
	}
	out, _, code := heron(t, "outbox", "export", "--config", f.conf)
	if n := strings.Count(out, "\n"); code != 0 || n < int(r.Records["result"]) || !strings.Contains(out, `"seq":`) {
		t.Errorf("export: exit %d, %d lines", code, n)
	}
	if out, _, code = heron(t, "outbox", "verify", "--json", "--file", filepath.Join(f.dir, "state/outbox.db")); code != 0 || !strings.Contains(out, `"damaged":0`) {
		t.Errorf("verify: exit %d, %s", code, out)
	}
}

func TestFault_S19_NoPermissionOnTheStateFolder(t *testing.T) {
	f := newField(t, nobody, "pictures:pictures?loop=true")
	f.write(t, "state", "a file where the folder should be") // holds for root, too
	f.start(t)
	s := f.until(t, "the disk's failure is told and frames are classified", func(s *status.Snapshot) bool {
		return classifying(s) && s.Outbox.State == "memory" && len(s.Reasons) > 0
	})
	if s.Outbox.Reason == "" {
		t.Errorf("outbox %+v", s.Outbox)
	}
}
