package vision_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"heron/inference"
	"heron/inference/scripted"
	"heron/vision"
)

func TestGoldenPicturesDecideWhetherAModelIsTaken(t *testing.T) {
	for top1, refused := range map[string]bool{"dark": false, "bright": true} {
		t.Run(top1, func(t *testing.T) {
			t.Parallel()
			dir := bundle(t, "scripted", scripted.Script{})
			picture(t, filepath.Join(dir, "golden.png"), 60)
			addGolden(t, dir, inference.Golden{Input: "golden.png", Top1: top1, Score: 0.9, Tolerance: 0.05})
			cmd, env := self("serve")
			e := look(t, vision.ClientConfig{Command: cmd, Env: env, Config: vision.Config{Slots: []vision.SlotConfig{{Slot: "main", Bundle: dir}}}})
			s := e.until("an answer about the model", func(s vision.ClientStats) bool {
				return len(s.Refusals) > 0 || s.State == vision.StateRunning && len(s.Slots) > 0 && s.Slots[0].Model != ""
			})
			if got := len(s.Refusals) > 0; got != refused || refused && s.Refusals[0].Code != inference.CodeGolden {
				t.Errorf("refusals %+v, slots %+v", s.Refusals, s.Slots)
			}
			if !refused && (s.Slots[0].Labels != 2 || len(s.Slots[0].Digest) != 64) {
				t.Errorf("slot %+v, want 2 labels and a digest", s.Slots[0])
			}
		})
	}
}

func addGolden(t *testing.T, dir string, g inference.Golden) {
	t.Helper()
	path := filepath.Join(dir, "manifest.json")
	raw, err := os.ReadFile(path)
	must(t, err)
	var m inference.Manifest
	must(t, json.Unmarshal(raw, &m))
	m.Golden = []inference.Golden{g}
	raw, err = json.Marshal(m)
	must(t, err)
	must(t, os.WriteFile(path, raw, 0o600))
}
