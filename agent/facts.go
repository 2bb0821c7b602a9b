package agent

// factText is what a fact about a camera's frames means to people, and what a technician does about it.
type factText struct {
	code, text, next string
}

// textOf has words of its own for every fact that camera.Quality tells. A fact of a newer heron-vision is told by its name.
func textOf(fact string) factText {
	t := factText{code: "camera-" + fact}
	switch fact {
	case "black":
		t.text = "the picture is black; frames are not classified"
		t.next = "check the light, the lens cap and the camera's exposure setting"
	case "covered":
		t.text = "something covers the lens: there is light but no structure in the picture; frames are not classified"
		t.next = "uncover the lens; check it for dirt, ice, condensation or a web"
	case "no-signal":
		t.text = "the picture is not what a lens sees (one flat colour, green of a torn stream, or snow); frames are not classified"
		t.next = "check the cable between camera and board or grabber, the network path of a stream, and the camera's power"
	case "frozen":
		t.text = "the picture is frozen: it repeats itself though frames keep coming"
		t.next = "power-cycle the camera, or restart what encodes its stream; heron camera test shows whether that helped"
	case "overexposed":
		t.text = "most of the picture is blown out"
		t.next = "shade the lens from direct light, or lower exposure or gain"
	case "underexposed":
		t.text = "the picture is too dark: even its brightest parts are"
		t.next = "bring light, or raise exposure or gain"
	case "blurred":
		t.text = "the picture has lost its sharpness"
		t.next = "clean the lens, let condensation dry, then check the focus"
	case "moved":
		t.text = "the scene is not where it was: the camera was turned or pushed, or something large stands before it"
		t.next = "compare the live view with the mounting plan and turn the camera back; if the new view is meant, do nothing: it is taken as known after 5 minutes"
	case "stale":
		t.code = "camera-late" // camera-stale is a camera that gives no new frame at all
		t.text = "frames are old before they are classified"
		t.next = "see what keeps the models busy (latency on the page); classify fewer frames, use fewer cameras to a model, or a faster engine"
	default:
		t.text = "the picture is " + fact
		t.next = "look at the camera's picture"
	}
	return t
}
