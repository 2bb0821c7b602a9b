package cloud

import "sort"

// span is a run of numbers, both ends included.
type span struct{ from, to uint64 }

// spans is a set of numbers, kept as sorted runs that do not touch: a stream without holes costs one run.
type spans struct{ runs []span }

// add puts from…to in and says whether any of it was new.
func (s *spans) add(from, to uint64) bool {
	// the first run that could touch, and the first that lies behind
	i := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].to+1 >= from })
	j := sort.Search(len(s.runs), func(j int) bool { return s.runs[j].from > to+1 })
	if i < j && s.runs[i].from <= from && to <= s.runs[i].to {
		return false
	}
	merged := span{from, to}
	if i < j {
		merged = span{min(from, s.runs[i].from), max(to, s.runs[j-1].to)}
	}
	s.runs = append(s.runs[:i], append([]span{merged}, s.runs[j:]...)...)
	return true
}

// missing counts the numbers between the first and the last that are not in s: those that owned does not have, and those that it has.
func (s *spans) missing(owned *spans) (holes, named uint64) {
	for i := 1; i < len(s.runs); i++ {
		from, to := s.runs[i-1].to+1, s.runs[i].from-1
		covered := uint64(0)
		for _, o := range owned.runs {
			if lo, hi := max(from, o.from), min(to, o.to); lo <= hi {
				covered += hi - lo + 1
			}
		}
		holes += to - from + 1 - covered
		named += covered
	}
	return holes, named
}
