"""What drivers and block designs call the accelerator."""

#: Vendor, library, name and version of the IP: what drivers are bound by.
VLNV = "weightstream:weightstream:accelerator:1.0"
#: Stem of the overlay's files, and name of its block design.
OVERLAY = "weightstream"
#: The accelerator in it.
INSTANCE = "accelerator_0"
#: Its interrupt pin.
INTERRUPT = "interrupt"
