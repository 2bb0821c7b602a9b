package demo

import (
	"reflect"
	"testing"
	"time"

	"heron/demo/cloud"
	"heron/demo/line"
	"heron/sync/message"
)

func said(label string, at time.Time, facts ...string) cloud.Result {
	r := cloud.Result{At: at, Facts: facts}
	if label != "" {
		r.Top = []message.Score{{Label: label, Score: .9}}
	}
	return r
}

func TestJudge(t *testing.T) {
	noon := time.Now()
	at := func(s float64) time.Time { return noon.Add(time.Duration(s * float64(time.Second))) }
	// ok in the first ten seconds, a hand in the next, then something that cannot be judged
	j := &judge{truth: func(from, to time.Time) (line.Truth, bool) {
		switch {
		case from.After(noon) && to.Before(at(10)):
			return line.Truth{Class: line.OK}, true
		case from.After(at(10)) && to.Before(at(20)):
			return line.Truth{Covered: true}, true
		}
		return line.Truth{}, false
	}}
	for _, r := range []cloud.Result{
		said("ok", at(5)), said("ok", at(6)), // right
		said("scratched", at(7)), said("", at(8), "frozen"), said("unknown", at(9)), // wrong
		said("", at(15), "covered"), said("unknown", at(16)), // right: nothing was made of the hand
		said("ok", at(17)),                                          // wrong: a hand is not a bottle
		said("ok", at(.1)), said("ok", at(9.999)), said("", at(25)), // not judged
	} {
		j.take(r)
	}
	got := j.copy()
	want := score{judged: 8, right: 4, covered: 3, mistaken: 1, wrong: map[string]uint64{"ok taken for scratched": 1, "ok taken for nothing": 1, "ok taken for unknown": 1}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("score %+v, want %+v", got, want)
	}
	if m := got.mistakes(); len(m) != 3 || m[0] != "ok taken for nothing" {
		t.Errorf("mistakes %q", m)
	}
}
