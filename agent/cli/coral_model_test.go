package cli

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"heron/agent/status"
)

// The stick serves one process. A model that runs on nothing else is judged beside the live one, and so is a budget that was made for the stick.
func TestAModelForTheStickThatIsInUse(t *testing.T) {
	c := newCoral(t, "2-1")
	h := newHerd(t)
	manifest, err := os.ReadFile(c.dir + "/coral/manifest.json")
	must(t, err)
	publish := func(version, engines, more string) {
		t.Helper()
		must(t, os.CopyFS(h.file("imagenet-"+version), os.DirFS(c.dir+"/coral")))
		text := strings.Replace(string(manifest), `"version":"1.0.0"`, fmt.Sprintf(`"version":%q%s`, version, more), 1)
		if engines != "" {
			text = strings.Replace(text, `,{"engine":"tflite","file":"mobilenet_v1_0.25_128_quant.tflite"}`, engines, 1)
		}
		must(t, os.WriteFile(h.file("imagenet-"+version)+"/manifest.json", []byte(text), 0o644))
		if out, errOut, code := heron(t, "model", "pack", h.file("imagenet-"+version), "--development", "--leave-out", "-o", h.file("imagenet-"+version)+".tar.zst"); code != 0 {
			t.Fatalf("pack %s: %d %s%s", version, code, out, errOut)
		}
		h.repo(t, "add", h.file("imagenet-"+version)+".tar.zst")
	}
	publish("1.1.0", " ", "")
	publish("1.2.0", "", `,"budget":{"latency_ms":0.001}`)
	c.write(t, "heron.yaml", fmt.Sprintf(`
device: {group: acme, id: dev-1}
cameras: [{name: front, source: "testcard:", fps: 20}]
models: [{bundle: coral, engine: [edgetpu, tflite]}]
outbox: {path: state/outbox.db, max_size: 16MiB}
uplink: {broker: %q}
repository: {url: %q, root: %q, shadow: 2s, probation: 4s}
vision: {command: %q, engine_retry: 100ms}
status: {listen: %q}
`, h.broker, h.url, h.file("repo/public/metadata/1.root.json"), c.program, c.page))
	c.start(t)
	c.on("edgetpu")
	c.until(t, "is online", func(s *status.Snapshot) bool { return s.Uplink.State == "online" })

	if out, errOut, code := h.fleet(t, "acme", "push", "--model", "imagenet/1.1.0"); code != 0 {
		t.Fatalf("push of a model for the stick alone: exit %d\n%s%s", code, out, errOut)
	}
	c.until(t, "the new model on the stick", func(s *status.Snapshot) bool {
		return s.Engine == "edgetpu" && s.Models[0].Version == "1.1.0"
	})
	out, errOut, code := h.fleet(t, "acme", "push", "--model", "imagenet/1.2.0")
	if s := h.slot(t, "acme", "dev-1"); code != exitFailed || len(s.Refused) != 1 || s.Refused[0].Check != "budget" || !strings.Contains(s.Refused[0].Reason, "edgetpu on usb:2-1") || versionOf(s.Active) != "1.1.0" {
		t.Errorf("push over budget: exit %d, %+v\n%s%s", code, s, out, errOut)
	}
	if s := c.snapshot(); s == nil || s.Vision.Restarts != 0 {
		t.Errorf("heron-vision was replaced: %+v", s)
	}
}
