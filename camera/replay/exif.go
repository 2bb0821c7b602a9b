package replay

import (
	"bytes"
	"encoding/binary"
)

// orientation finds the EXIF orientation of a JPEG, 1 to 8; 1, upright, where there is none or it makes no sense.
func orientation(jpeg []byte) int {
	for i := 2; i+4 <= len(jpeg) && jpeg[i] == 0xff; {
		marker, n := jpeg[i+1], int(binary.BigEndian.Uint16(jpeg[i+2:]))
		if marker == 0xff { // fill byte
			i++
			continue
		}
		if marker == 0xda || n < 2 || i+2+n > len(jpeg) { // start of scan: the pixels follow
			return 1
		}
		segment := jpeg[i+4 : i+2+n]
		if exif, ok := bytes.CutPrefix(segment, []byte("Exif\x00\x00")); ok && marker == 0xe1 {
			return tiffOrientation(exif)
		}
		i += 2 + n
	}
	return 1
}

// cutShort says that the marker at the end of a JPEG's pixels is missing. Of what is no JPEG's form it says nothing.
func cutShort(jpeg []byte) bool {
	for i := 2; i+4 <= len(jpeg); {
		switch n := int(binary.BigEndian.Uint16(jpeg[i+2:])); {
		case jpeg[i] != 0xff:
			return false
		case jpeg[i+1] == 0xff: // fill byte
			i++
		case jpeg[i+1] == 0xda:
			return !bytes.Contains(jpeg[i:], []byte{0xff, 0xd9})
		case n < 2:
			return false
		default:
			i += 2 + n
		}
	}
	return true
}

func tiffOrientation(tiff []byte) int {
	const entry, tag, short = 12, 0x0112, 3
	if len(tiff) < 8 {
		return 1
	}
	var order binary.ByteOrder
	switch string(tiff[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return 1
	}
	at := int64(order.Uint32(tiff[4:]))
	if at+2 > int64(len(tiff)) {
		return 1
	}
	count := int(order.Uint16(tiff[at:]))
	for fields := tiff[at+2:]; count > 0 && len(fields) >= entry; count-- {
		if order.Uint16(fields) == tag && order.Uint16(fields[2:]) == short {
			if v := int(order.Uint16(fields[8:])); v >= 1 && v <= 8 {
				return v
			}
			return 1
		}
		fields = fields[entry:]
	}
	return 1
}
