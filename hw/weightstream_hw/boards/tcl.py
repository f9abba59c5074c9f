"""Scripts for Vivado. Not run here: no Vivado."""

from __future__ import annotations

from weightstream.board.names import INSTANCE, INTERRUPT, OVERLAY, VLNV

from .description import CONTROLLER_RANGE, CORE_RANGE, Board
from .hwh import CONTROLLER, access
from .words import words
from .wrapper import INNER, TOP

#: Where the register block is in the IP: its bus and its name.
_BLOCK = "s_axi/registers"


def quote(text: str) -> str:
    """Return a word of Tcl that means exactly this text."""
    return '"' + "".join("\\" + letter if letter in '\\"$[]{};' else letter for letter in text) + '"'


def _header(what: str, board: Board) -> str:
    return f"# {what} for {board.title}. Written by weightstream-hw; not run here: no Vivado.\n\n"


def package_script(board: Board) -> str:
    """Return the script that makes an IP of the Verilog, with its registers."""
    vendor, library, name, version = VLNV.split(":")
    lines = [
        "set here [file normalize [file dirname [info script]]]",
        f"create_project -force package_ip [file join $here build package_ip] -part {board.part}",
        f"add_files -norecurse [list [file join $here {INNER}.v] [file join $here {TOP}.v]]",
        f"set_property top {TOP} [current_fileset]",
        "update_compile_order -fileset sources_1",
        "ipx::package_project -root_dir [file join $here build ip] -import_files -set_current true -force \\",
        f"  -vendor {vendor} -library {library} -taxonomy /UserIP",
        "set core [ipx::current_core]",
        f"set_property name {name} $core",
        f"set_property version {version} $core",
        f"set_property display_name {quote('weightstream accelerator')} $core",
        f"set_property description {quote('Runs networks from compressed weight streams.')} $core",
        "set_property supported_families {zynq Production zynquplus Production} $core",
        "",
        "# The registers: block designs and PYNQ list them by name.",
        "foreach map [ipx::get_memory_maps -of_objects $core] {",
        "  ipx::remove_memory_map [get_property name $map] $core",
        "}",
        "set map [ipx::add_memory_map s_axi $core]",
        "set_property slave_memory_map_ref s_axi [ipx::get_bus_interfaces s_axi -of_objects $core]",
        f"set block [ipx::add_address_block {_BLOCK.partition('/')[2]} $map]",
        "set_property usage register $block",
        "set_property access read-write $block",
        "set_property base_address 0 $block",
        f"set_property range {CORE_RANGE} $block",
        "set_property width 32 $block",
        "",
        "proc add_word {block name address access reset text} {",
        "  set word [ipx::add_register $name $block]",
        "  set_property address_offset $address $word",
        "  set_property size 32 $word",
        "  set_property access $access $word",
        "  set_property reset_value $reset $word",
        "  set_property description $text $word",
        "  return $word",
        "}",
        "proc add_field {word name lsb bits access text} {",
        "  set field [ipx::add_field $name $word]",
        "  set_property bit_offset $lsb $field",
        "  set_property bit_width $bits $field",
        "  set_property access $access $field",
        "  set_property description $text $field",
        "}",
    ]
    for word in words():
        lines.append(
            f"set word [add_word $block {word.name} 0x{word.address:X} {access(word.writable)} "
            f"0x{word.reset:X} {quote(word.doc)}]"
        )
        lines += [
            f"add_field $word {part.name} {part.lsb} {part.bits} {access(part.writable)} {quote(part.doc)}"
            for part in word.fields
        ]
    lines += [
        "",
        "ipx::create_xgui_files $core",
        "ipx::update_checksums $core",
        "ipx::check_integrity $core",
        "ipx::save_core $core",
        "close_project",
    ]
    return _header("Packages the accelerator as IP", board) + "\n".join(lines) + "\n"


def design_script(board: Board) -> str:
    """Return the script that makes the block design in the open project."""
    processor = board.processor
    cell = processor.instance
    external = "make_external {FIXED_IO, DDR} " if processor.architecture == "zynq" else ""
    external += "apply_board_preset $preset"
    lines = [
        "# The newest version of an IP that this Vivado has.",
        "proc newest {name} {",
        "  set found [lsort -dictionary [get_ipdefs -all xilinx.com:ip:$name:*]]",
        '  if {![llength $found]} { error "this Vivado has no IP $name" }',
        "  return [lindex $found end]",
        "}",
        "",
        f"create_bd_design {OVERLAY}",
        f"create_bd_cell -type ip -vlnv [newest {processor.module}] {cell}",
        'set preset [expr {[get_property board_part [current_project]] ne ""}]',
        f"apply_bd_automation -rule xilinx.com:bd_rule:{processor.module} \\",
        f"  -config [list {external}] [get_bd_cells {cell}]",
    ]
    if board.settings:
        lines += [
            "if {!$preset} {",
            f"  set_property -dict [list \\\n{_settings(board.settings, 4)}  ] [get_bd_cells {cell}]",
            "}",
        ]
    lines += [
        f"set_property -dict [list \\\n{_settings(_ports(board), 2)}] [get_bd_cells {cell}]",
        "",
        f"create_bd_cell -type ip -vlnv {VLNV} {INSTANCE}",
        f"create_bd_cell -type ip -vlnv [newest axi_intc] {CONTROLLER}",
        "create_bd_cell -type ip -vlnv [newest proc_sys_reset] reset_0",
        "create_bd_cell -type ip -vlnv [newest smartconnect] control_0",
        "create_bd_cell -type ip -vlnv [newest smartconnect] memory_0",
        "set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 2] [get_bd_cells control_0]",
        "set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 1] [get_bd_cells memory_0]",
        "# A single level line towards the processor: that is what pynq serves.",
        "set_property -dict [list CONFIG.C_IRQ_CONNECTION 1 CONFIG.C_IRQ_IS_LEVEL 1] \\",
        f"  [get_bd_cells {CONTROLLER}]",
        "",
        "proc link {from to} {",
        "  connect_bd_intf_net [get_bd_intf_pins $from] [get_bd_intf_pins $to]",
        "}",
        "proc wire {from args} {",
        "  foreach to $args {",
        "    connect_bd_net [get_bd_pins $from] [get_bd_pins $to]",
        "  }",
        "}",
        f"link {cell}/{processor.master} control_0/S00_AXI",
        f"link control_0/M00_AXI {INSTANCE}/s_axi",
        f"link control_0/M01_AXI {CONTROLLER}/s_axi",
        f"link {INSTANCE}/m_axi memory_0/S00_AXI",
        f"link memory_0/M00_AXI {cell}/{processor.slave}",
        f"wire {INSTANCE}/{INTERRUPT} {CONTROLLER}/intr",
        f"wire {CONTROLLER}/irq {cell}/{processor.interrupt}",
        f"wire {cell}/{processor.clock} {cell}/{processor.master_clock} {cell}/{processor.slave_clock} \\",
        f"  {INSTANCE}/aclk {CONTROLLER}/s_axi_aclk control_0/aclk memory_0/aclk reset_0/slowest_sync_clk",
        f"wire {cell}/{processor.reset} reset_0/ext_reset_in",
        f"wire reset_0/peripheral_aresetn {INSTANCE}/aresetn {CONTROLLER}/s_axi_aresetn \\",
        "  control_0/aresetn memory_0/aresetn",
        "",
        "proc place {space segment address range} {",
        "  assign_bd_address -offset $address -range $range \\",
        "    -target_address_space [get_bd_addr_spaces $space] [get_bd_addr_segs $segment]",
        "}",
        f"place {cell}/Data {INSTANCE}/{_BLOCK} 0x{processor.core:08X} {CORE_RANGE}",
        f"place {cell}/Data {CONTROLLER}/S_AXI/Reg 0x{processor.controller:08X} {CONTROLLER_RANGE}",
        "# As much memory as the processor has.",
    ]
    for segment, _, _ in processor.spaces:
        lines += [
            f"set segment [get_bd_addr_segs -quiet {cell}/{segment}]",
            "if {[llength $segment]} {",
            f"  assign_bd_address -target_address_space [get_bd_addr_spaces {INSTANCE}/m_axi] $segment",
            "}",
        ]
    lines += ["", "validate_bd_design", "save_bd_design"]
    return _header("The block design", board) + "\n".join(lines) + "\n"


def _settings(values: dict[str, str | int], indent: int) -> str:
    return "".join(f"{' ' * indent}CONFIG.{name} {quote(str(value))} \\\n" for name, value in values.items())


def _ports(board: Board) -> dict[str, str | int]:
    """Return the parameters of the processor that this design needs."""
    processor = board.processor
    if processor.architecture == "zynq":
        return {
            "PCW_USE_M_AXI_GP0": 1,
            "PCW_USE_S_AXI_HP0": 1,
            "PCW_S_AXI_HP0_DATA_WIDTH": processor.slave_bits,
            "PCW_USE_FABRIC_INTERRUPT": 1,
            "PCW_IRQ_F2P_INTR": 1,
            "PCW_FPGA0_PERIPHERAL_FREQMHZ": board.mhz,
        }
    return {
        "PSU__USE__M_AXI_GP0": 1,
        "PSU__MAXIGP0__DATA_WIDTH": 32,
        "PSU__USE__M_AXI_GP1": 0,
        "PSU__USE__M_AXI_GP2": 0,
        "PSU__USE__S_AXI_GP2": 1,
        "PSU__SAXIGP2__DATA_WIDTH": processor.slave_bits,
        "PSU__USE__IRQ0": 1,
        "PSU__FPGA_PL0_ENABLE": 1,
        "PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ": board.mhz,
    }


def build_script(board: Board) -> str:
    """Return the script that does all of it and copies the overlay beside itself."""
    lines = [
        "set here [file normalize [file dirname [info script]]]",
        "source [file join $here package_ip.tcl]",
        "",
        f"create_project -force {OVERLAY} [file join $here build project] -part {board.part}",
        f"set boards [lsort -dictionary [get_board_parts -quiet {{{board.files}}}]]",
        "if {[llength $boards]} { set_property board_part [lindex $boards end] [current_project] }",
        "set_property ip_repo_paths [list [file join $here build ip]] [current_project]",
        "update_ip_catalog",
        "source [file join $here block_design.tcl]",
        "",
        "# No constraints: the only clock comes from the processor, and no pin is used.",
        f"set design [get_files {OVERLAY}.bd]",
        "generate_target all $design",
        "add_files -norecurse [make_wrapper -files $design -top]",
        f"set_property top {OVERLAY}_wrapper [current_fileset]",
        "update_compile_order -fileset sources_1",
        "launch_runs impl_1 -to_step write_bitstream -jobs 4",
        "wait_on_run impl_1",
        'if {[get_property PROGRESS [get_runs impl_1]] ne "100%"} {',
        '  error "implementation stopped: [get_property STATUS [get_runs impl_1]]"',
        "}",
        "open_run impl_1",
        "report_utilization -file [file join $here utilization.txt]",
        "report_timing_summary -file [file join $here timing.txt]",
        "set slack [get_property STATS.WNS [get_runs impl_1]]",
        f'if {{$slack < 0}} {{ error "timing is not met at {board.mhz} MHz: slack $slack ns" }}',
        "",
        "set project [get_property directory [current_project]]",
        f"file copy -force [file join $project {OVERLAY}.runs impl_1 {OVERLAY}_wrapper.bit] \\",
        f"  [file join $here {OVERLAY}.bit]",
        f"set handoff [file join $project {OVERLAY}.gen sources_1 bd {OVERLAY} hw_handoff {OVERLAY}.hwh]",
        f"file copy -force $handoff [file join $here {OVERLAY}.hwh]",
        "close_project",
    ]
    return _header("Builds the overlay", board) + "\n".join(lines) + "\n"
