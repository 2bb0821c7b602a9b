//go:build linux

package enginetest

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"heron/inference"
)

// child answers for the numbers on its standard input.
func (c Mutants) child(t *testing.T, job string) {
	var model int
	var seed uint64
	if _, err := fmt.Sscan(job, &model, &seed); err != nil {
		t.Fatal(err)
	}
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) // it may abort; its memory is of no interest
	if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: mutantMemory, Max: mutantMemory}); err != nil {
		t.Fatal(err)
	}
	m := c.Models[model]
	j := c.newJudge(t, m)
	fmt.Println("ready")
	for s := bufio.NewScanner(os.Stdin); s.Scan(); {
		n, err := strconv.Atoi(s.Text())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("mutant %d: %s\n", n, j.judge(t, mutant(m, seed, n)))
	}
}

// judge knows a model's answers.
type judge struct {
	Mutants
	bundle   *inference.Bundle
	pictures map[string][]byte
	sizes    map[string][2]int
	answers  map[string]inference.Score
}

func (c Mutants) newJudge(t *testing.T, m inference.Model) *judge {
	t.Helper()
	dir := Folder(t, c.Engine, m)
	b, err := inference.ReadBundle(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	j := &judge{c, b, map[string][]byte{}, map[string][2]int{}, map[string]inference.Score{}}
	s, err := j.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	found, err := filepath.Glob(filepath.Join(Testdata(t), "pictures", "*.*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		picture, err := c.Decode(read(t, path))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		name := filepath.Base(path)
		pix, w, h := BGR(picture)
		j.pictures[name], j.sizes[name] = pix, [2]int{w, h}
		if j.answers[name], err = j.classify(t.Context(), s, name); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range goldenPictures {
		b.Manifest.Golden = append(b.Manifest.Golden, inference.Golden{Input: name, Top1: j.answers[name].Label, Score: j.answers[name].Score, Tolerance: tolerance})
	}
	return j
}

func (j *judge) open(ctx context.Context) (*inference.Slot, error) {
	return inference.OpenSlot(ctx, j.bundle, map[string]inference.Opener{j.Engine: j.Open}, inference.Opening{Threads: 1,
		Check: func(ctx context.Context, s *inference.Slot) error {
			return s.CheckGoldens(ctx, func(g inference.Golden) ([]byte, int, int, int, error) {
				size := j.sizes[g.Input]
				return j.pictures[g.Input], size[0], size[1], 3 * size[0], nil
			})
		}})
}

func (j *judge) classify(ctx context.Context, s *inference.Slot, name string) (inference.Score, error) {
	size := j.sizes[name]
	r, err := s.Classify(ctx, j.pictures[name], size[0], size[1], 3*size[0])
	if err != nil {
		return inference.Score{}, err
	}
	return r.Top[0], nil
}

// judge opens a mutant as the service does, and says what became of it.
func (j *judge) judge(t *testing.T, m inference.Model) string {
	t.Helper()
	writeModel(t, j.bundle.Dir, m)
	s, err := j.open(t.Context())
	if err != nil {
		r := (*inference.Refusal)(nil)
		if !errors.As(err, &r) || strings.ContainsAny(err.Error(), "\n\x00") {
			return fmt.Sprintf("broken: %.200q is no refusal in one line", err)
		}
		return "refused " + cmp.Or(r.Code, "without a code")
	}
	defer s.Close()
	for name, want := range j.answers {
		got, err := j.classify(t.Context(), s, name)
		if err != nil || got.Label != want.Label || math.Abs(got.Score-want.Score) > tolerance {
			return slips
		}
	}
	return harmless
}
