//go:build linux

package enginetest

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"heron/inference"
)

// Mutants of a real model are cut off, have one bit or twenty flipped, or a page zeroed. With digests in the manifest none of them may be
// opened; without, each is given to a child process, which may refuse it, die, hang and be killed, or find it out by golden pictures.
// What slips past all of that is measured: mutants that answer as the model does on pictures that are not golden are harmless, the others
// are the share that only digests catch.
//
// It is called by a test of its own, which the child repeats: HERON_TORTURE=long takes a thousand mutants of each model instead of 20;
// HERON_TORTURE_SEED repeats a campaign.
type Mutants struct {
	Test   string // the name of the calling test, for the child
	Engine string
	Open   inference.Opener
	Models []inference.Model // real ones; see RealModels
	Decode func([]byte) (image.Image, error)
	Within time.Duration // for one mutant; 0: 30 s
}

const (
	mutantEnv    = "HERON_MUTANT_CHILD" // the child's model and seed
	mutantMemory = 4 << 30              // bytes of data that a child may have: a model of half a megabyte took up to 0.7 GB
	tolerance    = 0.05                 // of golden pictures, as scripts that pack bundles write it
)

// goldenPictures are those whose answers the manifest knows; the others of testdata judge what slips past them.
var goldenPictures = []string{"hot_dog.jpg", "missvickie_potato_chips.bmp", "parrot.jpg"} // read only

// RealModels reads real models of testdata, or by an absolute path; an .xml brings its .bin along. Absent ones are left out.
func RealModels(t *testing.T, reals []Real) []inference.Model {
	t.Helper()
	dir := filepath.Join(Testdata(t), "models")
	labels := strings.Split(strings.TrimSpace(string(read(t, filepath.Join(dir, "imagenet_labels.txt")))), "\n")
	var out []inference.Model
	for _, r := range reals {
		path := r.File
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, r.File)
		}
		if !exists(path) {
			t.Logf("there is no %s", path)
			continue
		}
		m := inference.Model{File: filepath.Base(path), Bytes: read(t, path), Spec: &inference.Spec{Labels: labels, Input: r.Input, Output: r.Output}}
		if bin, ok := strings.CutSuffix(path, ".xml"); ok {
			m.Weights = read(t, bin+".bin")
		}
		out = append(out, m)
	}
	return out
}

// Run is the test.
func (c Mutants) Run(t *testing.T) {
	if job := os.Getenv(mutantEnv); job != "" {
		c.child(t, job)
		return
	}
	rounds := 20
	if os.Getenv("HERON_TORTURE") == "long" {
		rounds = 1000
	}
	seed, err := strconv.ParseUint(os.Getenv("HERON_TORTURE_SEED"), 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("HERON_TORTURE_SEED=%d", seed)
	for i, m := range c.Models {
		t.Run(m.File, func(t *testing.T) {
			c.signed(t, m, seed, rounds)
			c.unsigned(t, i, m, seed, rounds)
		})
	}
}

// mutant is copy n of a model, and always differs from it.
func mutant(m inference.Model, seed uint64, n int) inference.Model {
	rnd := rand.New(rand.NewPCG(seed, uint64(n)))
	whole := slices.Concat(m.Bytes, m.Weights)
	spot := func() int { // half of them where the structure is densest: at the ends of the file
		if near := min(len(m.Bytes), 24<<10); rnd.IntN(2) == 0 {
			return (rnd.IntN(2*near) - near + len(m.Bytes)) % len(m.Bytes)
		}
		return rnd.IntN(len(whole))
	}
	for {
		b := slices.Clone(whole)
		at := spot()
		switch n % 4 {
		case 0:
			b = b[:at]
		case 1:
			b[at] ^= 1 << rnd.IntN(8)
		case 2:
			for range 20 {
				b[spot()] ^= 1 << rnd.IntN(8)
			}
		case 3:
			clear(b[at:min(len(b), at+512<<(3*(n/4%2)))]) // 512 or 4096 bytes
		}
		if slices.Equal(b, whole) {
			continue
		}
		m.Bytes = b[:min(len(b), len(m.Bytes))]
		if m.Weights != nil {
			m.Weights = b[len(m.Bytes):]
		}
		return m
	}
}

// signed: a manifest with digests lets no mutant come to a runtime.
func (c Mutants) signed(t *testing.T, m inference.Model, seed uint64, rounds int) {
	dir := Folder(t, c.Engine, m)
	sign(t, dir)
	touched := 0
	open := func(context.Context, inference.Model) (inference.Engine, error) {
		touched++
		return nil, errors.New("a runtime was to open it")
	}
	try := func() error {
		b, err := inference.ReadBundle(dir, nil)
		if err == nil {
			_, err = inference.OpenSlot(t.Context(), b, map[string]inference.Opener{c.Engine: open}, inference.Opening{})
		}
		return err
	}
	if err := try(); touched != 1 {
		t.Fatalf("the undamaged model is not opened: %v", err)
	}
	for n := range rounds {
		writeModel(t, dir, mutant(m, seed, n))
		CheckRefusal(t, try(), inference.CodeDigest)
	}
	t.Logf("with digests: %d of %d refused before a runtime saw them", rounds-(touched-1), rounds)
	if touched != 1 {
		t.Errorf("a runtime was given %d mutants", touched-1)
	}
}

// sign lists the folder's files in its manifest.
func sign(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "manifest.json")
	m, err := inference.ParseManifest(read(t, path))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "manifest.json" {
			b := read(t, filepath.Join(dir, e.Name()))
			sum := sha256.Sum256(b)
			m.Files = append(m.Files, inference.File{Path: e.Name(), Size: int64(len(b)), SHA256: hex.EncodeToString(sum[:])})
		}
	}
	b, err := json.Marshal(m)
	if err == nil {
		err = os.WriteFile(path, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// unsigned gives each mutant to a child and counts what became of them.
func (c Mutants) unsigned(t *testing.T, model int, m inference.Model, seed uint64, rounds int) map[string]int {
	tally, longest := map[string]int{}, time.Duration(0)
	var kid *mutantChild
	for n := range rounds {
		if kid == nil {
			kid = c.start(t, model, seed)
		}
		t0 := time.Now()
		word, alive := kid.judge(n)
		longest = max(longest, time.Since(t0))
		tally[word]++
		if strings.HasPrefix(word, "broken") {
			t.Errorf("mutant %d: %s", n, word)
		}
		if !alive {
			kid = nil
		}
	}
	if kid != nil {
		kid.end()
	}
	words := make([]string, 0, len(tally))
	for w, n := range tally {
		words = append(words, fmt.Sprintf("%s %d", w, n))
	}
	slices.Sort(words)
	t.Logf("without digests, of %d: %s; the longest took %v", rounds, strings.Join(words, ", "), longest.Round(time.Millisecond))
	t.Logf("%s %s: %.1f %% slip past refusal, child and golden pictures and answer otherwise on other pictures", c.Engine, m.File, 100*float64(tally[slips])/float64(rounds))
	return tally
}

// The child's words for what became of a mutant, besides "refused CODE".
const (
	harmless = "answers as before"
	slips    = "slips past"
	died     = "killed its process"
	hung     = "hung and was killed"
)

// mutantChild is this test as a process that may die.
type mutantChild struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner

	within time.Duration
}

func (c Mutants) start(t *testing.T, model int, seed uint64) *mutantChild {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+c.Test+"$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d", mutantEnv, model, seed))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	k := &mutantChild{cmd, in, bufio.NewScanner(out), cmp.Or(c.Within, 30*time.Second)}
	for k.out.Scan() {
		if k.out.Text() == "ready" {
			return k
		}
	}
	t.Fatalf("the child does not begin: %v", cmd.Wait())
	return nil
}

// judge has the child look at a mutant; false: there is no child any more.
func (k *mutantChild) judge(n int) (string, bool) {
	late := time.AfterFunc(k.within, func() { _ = k.cmd.Process.Kill() }) // it may have ended
	_, err := fmt.Fprintln(k.in, n)
	prefix := fmt.Sprintf("mutant %d: ", n)
	for err == nil && k.out.Scan() {
		if word, ok := strings.CutPrefix(k.out.Text(), prefix); ok {
			late.Stop()
			return word, true
		}
	}
	inTime := late.Stop()
	_ = k.cmd.Wait() // how it ended does not matter
	if inTime {
		return died, false
	}
	return hung, false
}

func (k *mutantChild) end() {
	_ = k.in.Close() // tells it to end
	for k.out.Scan() {
	}
	_ = k.cmd.Wait()
}
