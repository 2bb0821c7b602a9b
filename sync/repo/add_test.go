package repo

import (
	"slices"
	"strings"
	"testing"
)

func TestVersionsInTheirOrder(t *testing.T) {
	want := []string{"1.4.2-rc1", "1.4.2-rc2", "1.4.2", "1.4.10", "1.10", "2", "10", "b1"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, CompareVersions)
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if CompareVersions("1.4.1", "1.4.1") != 0 {
		t.Error("a version is not its own equal")
	}
}

// What is beside a bundle is signed in the same change, and is no bundle.
func TestManifestsAndPatchesAreSignedBesideABundle(t *testing.T) {
	r := made(t)
	for _, v := range []string{"1.4.9", "1.4.10", "1.5"} {
		if _, err := r.Add(bundle(t, "bundle "+v), "bottles/"+v, nil, Item{File: bundle(t, "manifest "+v), Name: "bottles/" + v + ManifestEnding}); err != nil {
			t.Fatal(err)
		}
	}
	patch := Item{File: bundle(t, "patch"), Name: "bottles/1.4.10..1.4.11" + PatchEnding}
	res, err := r.Add(bundle(t, "bundle 1.4.11"), "bottles/1.4.11", nil, patch)
	if err != nil || !slices.Equal(res.Changed, []string{"bottles 4", "snapshot 5", "timestamp 5"}) {
		t.Fatalf("%+v, %v", res, err)
	}
	earlier, err := r.Bundles("bottles/1.4.11")
	if err != nil || len(earlier) != 2 || earlier[0].Name != "bottles/1.4.10" || earlier[1].Name != "bottles/1.4.9" {
		t.Fatalf("%+v, %v", earlier, err)
	}
	if n, _, err := measure(earlier[0].File); err != nil || n != earlier[0].Size {
		t.Error(n, err)
	}
	if none, err := r.Bundles("cans/1"); err != nil || len(none) != 0 {
		t.Errorf("%v, %v", none, err)
	}
	for name, there := range map[string]bool{"bottles/1.4.11": true, patch.Name: true, "bottles/7": false, "cans/1": false} {
		if got, err := r.Has(name); err != nil || got != there {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for _, bad := range []Item{{Name: "cans/1.hdp"}, {Name: "bottles/9"}, {Name: "bottles/../x.hdp"}, {Name: "bottles/" + strings.Repeat("1", 150) + PatchEnding}} {
		bad.File = bundle(t, "x")
		if _, err := r.Add(bundle(t, "y"), "bottles/9", nil, bad); err == nil {
			t.Errorf("%s was signed beside a bundle", bad.Name)
		}
	}
	if _, err := r.Add(bundle(t, "y"), "bottles/9", nil, Item{File: bundle(t, "other"), Name: patch.Name}); err == nil {
		t.Error("a patch was replaced by other bytes")
	}
	if _, err := r.Add(bundle(t, "y"), "bottles/9.hdp", nil); err == nil {
		t.Error("a version is called like a patch")
	}
}
