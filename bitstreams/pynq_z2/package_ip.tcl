# Packages the accelerator as IP for TUL PYNQ-Z2. Written by weightstream-hw; not run here: no Vivado.

set here [file normalize [file dirname [info script]]]
create_project -force package_ip [file join $here build package_ip] -part xc7z020clg400-1
add_files -norecurse [list [file join $here accelerator.v] [file join $here weightstream_accelerator.v]]
set_property top weightstream_accelerator [current_fileset]
update_compile_order -fileset sources_1
ipx::package_project -root_dir [file join $here build ip] -import_files -set_current true -force \
  -vendor weightstream -library weightstream -taxonomy /UserIP
set core [ipx::current_core]
set_property name accelerator $core
set_property version 1.0 $core
set_property display_name "weightstream accelerator" $core
set_property description "Runs networks from compressed weight streams." $core
set_property supported_families {zynq Production zynquplus Production} $core

# The registers: block designs and PYNQ list them by name.
foreach map [ipx::get_memory_maps -of_objects $core] {
  ipx::remove_memory_map [get_property name $map] $core
}
set map [ipx::add_memory_map s_axi $core]
set_property slave_memory_map_ref s_axi [ipx::get_bus_interfaces s_axi -of_objects $core]
set block [ipx::add_address_block registers $map]
set_property usage register $block
set_property access read-write $block
set_property base_address 0 $block
set_property range 4096 $block
set_property width 32 $block

proc add_word {block name address access reset text} {
  set word [ipx::add_register $name $block]
  set_property address_offset $address $word
  set_property size 32 $word
  set_property access $access $word
  set_property reset_value $reset $word
  set_property description $text $word
  return $word
}
proc add_field {word name lsb bits access text} {
  set field [ipx::add_field $name $word]
  set_property bit_offset $lsb $field
  set_property bit_width $bits $field
  set_property access $access $field
  set_property description $text $field
}
set word [add_word $block CTRL 0x0 read-write 0x0 "Start a job\; 0 again once it was taken up. A job has ended, well or not, since this register was last read. No job is under way. A job was taken up since this register was last read. The interrupt line."]
add_field $word AP_START 0 1 read-write "Start a job\; 0 again once it was taken up."
add_field $word AP_DONE 1 1 read-only "A job has ended, well or not, since this register was last read."
add_field $word AP_IDLE 2 1 read-only "No job is under way."
add_field $word AP_READY 3 1 read-only "A job was taken up since this register was last read."
add_field $word INTERRUPT 9 1 read-only "The interrupt line."
set word [add_word $block GIE 0x4 read-write 0x0 "Interrupts are enabled."]
add_field $word ENABLE 0 1 read-write "Interrupts are enabled."
set word [add_word $block IER 0x8 read-write 0x0 "The end of a job interrupts. Taking up a job interrupts."]
add_field $word DONE 0 1 read-write "The end of a job interrupts."
add_field $word READY 1 1 read-write "Taking up a job interrupts."
set word [add_word $block ISR 0xC read-write 0x0 "A job has ended. A job was taken up."]
add_field $word DONE 0 1 read-write "A job has ended."
add_field $word READY 1 1 read-write "A job was taken up."
set word [add_word $block IMAGE_LO 0x10 read-write 0x0 "Where the image begins, a multiple of 16. Lower word."]
add_field $word ADDRESS 0 32 read-write "Where the image begins, a multiple of 16. Lower word."
set word [add_word $block IMAGE_HI 0x14 read-write 0x0 "Where the image begins, a multiple of 16. Upper word."]
add_field $word ADDRESS 0 32 read-write "Where the image begins, a multiple of 16. Upper word."
set word [add_word $block INPUT_LO 0x1C read-write 0x0 "Where the inputs begin, a multiple of 16. Lower word."]
add_field $word ADDRESS 0 32 read-write "Where the inputs begin, a multiple of 16. Lower word."
set word [add_word $block INPUT_HI 0x20 read-write 0x0 "Where the inputs begin, a multiple of 16. Upper word."]
add_field $word ADDRESS 0 32 read-write "Where the inputs begin, a multiple of 16. Upper word."
set word [add_word $block OUTPUT_LO 0x28 read-write 0x0 "Where the outputs go, a multiple of 16. Lower word."]
add_field $word ADDRESS 0 32 read-write "Where the outputs go, a multiple of 16. Lower word."
set word [add_word $block OUTPUT_HI 0x2C read-write 0x0 "Where the outputs go, a multiple of 16. Upper word."]
add_field $word ADDRESS 0 32 read-write "Where the outputs go, a multiple of 16. Upper word."
set word [add_word $block BATCH 0x34 read-write 0x1 "Items of the job, at least 1."]
add_field $word ITEMS 0 16 read-write "Items of the job, at least 1."
set word [add_word $block WATCHDOG 0x3C read-write 0x1000000 "Clocks without progress that end a job\; 0: never."]
add_field $word LIMIT 0 32 read-write "Clocks without progress that end a job\; 0: never."
set word [add_word $block RESET 0x44 read-write 0x0 "Give up the job without `ap_done`, forget its error\; arguments stay."]
add_field $word SOFT 0 1 read-write "Give up the job without `ap_done`, forget its error\; arguments stay."
set word [add_word $block INPUT_SIZE 0x4C read-write 0x0 "Bytes of the inputs, a multiple of 8: no load reads behind them."]
add_field $word BYTES 0 32 read-write "Bytes of the inputs, a multiple of 8: no load reads behind them."
set word [add_word $block OUTPUT_SIZE 0x54 read-write 0x0 "Bytes for the outputs, a multiple of 8: no store writes behind them."]
add_field $word BYTES 0 32 read-write "Bytes for the outputs, a multiple of 8: no store writes behind them."
set word [add_word $block IDENTITY 0x80 read-only 0x0 "ASCII \"WSTR\", the first letter lowest."]
add_field $word MAGIC 0 32 read-only "ASCII \"WSTR\", the first letter lowest."
set word [add_word $block MAP 0x84 read-only 0x0 "Digest of this list of registers."]
add_field $word DIGEST 0 32 read-only "Digest of this list of registers."
set word [add_word $block MACHINE 0x88 read-only 0x0 "Digest of what the gateware was built with."]
add_field $word DIGEST 0 32 read-only "Digest of what the gateware was built with."
set word [add_word $block SHAPE 0x8C read-only 0x0 "Lanes. Slots a lane. Columns a lane. The most weights a symbol in product tables\; 0: no such tables. The most symbols a group of weights. Lanes have multipliers. Outputs can be multi-threshold functions. Sums can be rounded as float32 does."]
add_field $word LANES 0 7 read-only "Lanes."
add_field $word SLOTS 7 5 read-only "Slots a lane."
add_field $word COLUMNS 12 5 read-only "Columns a lane."
add_field $word GROUP 17 3 read-only "The most weights a symbol in product tables\; 0: no such tables."
add_field $word PASSES 20 3 read-only "The most symbols a group of weights."
add_field $word MULTIPLIERS 23 1 read-only "Lanes have multipliers."
add_field $word THRESHOLDS 24 1 read-only "Outputs can be multi-threshold functions."
add_field $word FLOAT_ROUNDING 25 1 read-only "Sums can be rounded as float32 does."
set word [add_word $block MEMORY 0x90 read-only 0x0 "log2 of the bits of the memory bus. Bits of an address on it. log2 of the beats of the longest burst. log2 of the 16-bit words of a lane's queue. log2 of the bytes of the activation memory. log2 of the 8-byte words of one half of a patch buffer. log2 of the entries of the map from columns to classes."]
add_field $word BUS_LOG2 0 3 read-only "log2 of the bits of the memory bus."
add_field $word ADDRESS_BITS 3 7 read-only "Bits of an address on it."
add_field $word BURST_LOG2 10 4 read-only "log2 of the beats of the longest burst."
add_field $word QUEUE_LOG2 14 4 read-only "log2 of the 16-bit words of a lane's queue."
add_field $word POOL_LOG2 18 5 read-only "log2 of the bytes of the activation memory."
add_field $word PATCH_LOG2 23 4 read-only "log2 of the 8-byte words of one half of a patch buffer."
add_field $word CLASSES_LOG2 27 5 read-only "log2 of the entries of the map from columns to classes."
set word [add_word $block ERROR 0xA0 read-only 0x0 "Why a job ended early, see below\; until a soft reset all end at once."]
add_field $word CODE 0 8 read-only "Why a job ended early, see below\; until a soft reset all end at once."
set word [add_word $block ERROR_AT_LO 0xA4 read-only 0x0 "Address on the memory bus that belongs to it. Lower word."]
add_field $word ADDRESS 0 32 read-only "Address on the memory bus that belongs to it. Lower word."
set word [add_word $block ERROR_AT_HI 0xA8 read-only 0x0 "Address on the memory bus that belongs to it. Upper word."]
add_field $word ADDRESS 0 32 read-only "Address on the memory bus that belongs to it. Upper word."
set word [add_word $block CYCLES_LO 0xC0 read-only 0x0 "Clocks in which a job was under way. Lower word."]
add_field $word COUNT 0 32 read-only "Clocks in which a job was under way. Lower word."
set word [add_word $block CYCLES_HI 0xC4 read-only 0x0 "Clocks in which a job was under way. Upper word."]
add_field $word COUNT 0 32 read-only "Clocks in which a job was under way. Upper word."
set word [add_word $block BUSY_LO 0xC8 read-only 0x0 "Rounds that decoded symbols. Lower word."]
add_field $word COUNT 0 32 read-only "Rounds that decoded symbols. Lower word."
set word [add_word $block BUSY_HI 0xCC read-only 0x0 "Rounds that decoded symbols. Upper word."]
add_field $word COUNT 0 32 read-only "Rounds that decoded symbols. Upper word."
set word [add_word $block IDLE_QUEUE_LO 0xD0 read-only 0x0 "Rounds that waited for words of a stream. Lower word."]
add_field $word COUNT 0 32 read-only "Rounds that waited for words of a stream. Lower word."
set word [add_word $block IDLE_QUEUE_HI 0xD4 read-only 0x0 "Rounds that waited for words of a stream. Upper word."]
add_field $word COUNT 0 32 read-only "Rounds that waited for words of a stream. Upper word."
set word [add_word $block IDLE_FETCH_LO 0xD8 read-only 0x0 "Rounds that waited for activations. Lower word."]
add_field $word COUNT 0 32 read-only "Rounds that waited for activations. Lower word."
set word [add_word $block IDLE_FETCH_HI 0xDC read-only 0x0 "Rounds that waited for activations. Upper word."]
add_field $word COUNT 0 32 read-only "Rounds that waited for activations. Upper word."
set word [add_word $block IDLE_DRAIN_LO 0xE0 read-only 0x0 "Rounds that waited for outputs to be drained. Lower word."]
add_field $word COUNT 0 32 read-only "Rounds that waited for outputs to be drained. Lower word."
set word [add_word $block IDLE_DRAIN_HI 0xE4 read-only 0x0 "Rounds that waited for outputs to be drained. Upper word."]
add_field $word COUNT 0 32 read-only "Rounds that waited for outputs to be drained. Upper word."
set word [add_word $block IDLE_OTHER_LO 0xE8 read-only 0x0 "Rounds that waited for keys of rows. Lower word."]
add_field $word COUNT 0 32 read-only "Rounds that waited for keys of rows. Lower word."
set word [add_word $block IDLE_OTHER_HI 0xEC read-only 0x0 "Rounds that waited for keys of rows. Upper word."]
add_field $word COUNT 0 32 read-only "Rounds that waited for keys of rows. Upper word."
set word [add_word $block BEATS_READ_LO 0xF0 read-only 0x0 "Beats that were read from memory. Lower word."]
add_field $word COUNT 0 32 read-only "Beats that were read from memory. Lower word."
set word [add_word $block BEATS_READ_HI 0xF4 read-only 0x0 "Beats that were read from memory. Upper word."]
add_field $word COUNT 0 32 read-only "Beats that were read from memory. Upper word."
set word [add_word $block BEATS_WRITTEN_LO 0xF8 read-only 0x0 "Beats that were written to memory. Lower word."]
add_field $word COUNT 0 32 read-only "Beats that were written to memory. Lower word."
set word [add_word $block BEATS_WRITTEN_HI 0xFC read-only 0x0 "Beats that were written to memory. Upper word."]
add_field $word COUNT 0 32 read-only "Beats that were written to memory. Upper word."
set word [add_word $block JOBS_LO 0x100 read-only 0x0 "Jobs that ended. Lower word."]
add_field $word COUNT 0 32 read-only "Jobs that ended. Lower word."
set word [add_word $block JOBS_HI 0x104 read-only 0x0 "Jobs that ended. Upper word."]
add_field $word COUNT 0 32 read-only "Jobs that ended. Upper word."

ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity $core
ipx::save_core $core
close_project
