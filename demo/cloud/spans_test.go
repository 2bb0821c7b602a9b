package cloud

import (
	"testing"

	"pgregory.net/rapid"
)

// The set of runs must agree with a plain set of numbers.
func TestSpansAreASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s, owned spans
		plain, named := map[uint64]bool{}, map[uint64]bool{}
		for range rapid.IntRange(1, 40).Draw(t, "n") {
			from := rapid.Uint64Range(1, 60).Draw(t, "from")
			to := from + rapid.Uint64Range(0, 5).Draw(t, "more")
			set, model := &s, plain
			if rapid.Bool().Draw(t, "owned") {
				set, model = &owned, named
			}
			fresh := false
			for i := from; i <= to; i++ {
				fresh = fresh || !model[i]
				model[i] = true
			}
			if got := set.add(from, to); got != fresh {
				t.Fatalf("add(%d, %d) is %v, want %v", from, to, got, fresh)
			}
		}
		var holes, told, lo, hi uint64
		for i := range plain {
			if lo == 0 || i < lo {
				lo = i
			}
			hi = max(hi, i)
		}
		for i := lo; i < hi; i++ {
			switch {
			case plain[i] || lo == 0:
			case named[i]:
				told++
			default:
				holes++
			}
		}
		if h, n := s.missing(&owned); h != holes || n != told {
			t.Fatalf("%v without %v: %d holes and %d named, want %d and %d", s.runs, owned.runs, h, n, holes, told)
		}
	})
}
