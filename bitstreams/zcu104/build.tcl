# Builds the overlay for AMD ZCU104. Written by weightstream-hw; not run here: no Vivado.

set here [file normalize [file dirname [info script]]]
source [file join $here package_ip.tcl]

create_project -force weightstream [file join $here build project] -part xczu7ev-ffvc1156-2-e
set boards [lsort -dictionary [get_board_parts -quiet {xilinx.com:zcu104:part0:*}]]
if {[llength $boards]} { set_property board_part [lindex $boards end] [current_project] }
set_property ip_repo_paths [list [file join $here build ip]] [current_project]
update_ip_catalog
source [file join $here block_design.tcl]

# No constraints: the only clock comes from the processor, and no pin is used.
set design [get_files weightstream.bd]
generate_target all $design
add_files -norecurse [make_wrapper -files $design -top]
set_property top weightstream_wrapper [current_fileset]
update_compile_order -fileset sources_1
launch_runs impl_1 -to_step write_bitstream -jobs 4
wait_on_run impl_1
if {[get_property PROGRESS [get_runs impl_1]] ne "100%"} {
  error "implementation stopped: [get_property STATUS [get_runs impl_1]]"
}
open_run impl_1
report_utilization -file [file join $here utilization.txt]
report_timing_summary -file [file join $here timing.txt]
set slack [get_property STATS.WNS [get_runs impl_1]]
if {$slack < 0} { error "timing is not met at 150 MHz: slack $slack ns" }

set project [get_property directory [current_project]]
file copy -force [file join $project weightstream.runs impl_1 weightstream_wrapper.bit] \
  [file join $here weightstream.bit]
set handoff [file join $project weightstream.gen sources_1 bd weightstream hw_handoff weightstream.hwh]
file copy -force $handoff [file join $here weightstream.hwh]
close_project
