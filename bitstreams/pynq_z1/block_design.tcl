# The block design for Digilent PYNQ-Z1. Written by weightstream-hw; not run here: no Vivado.

# The newest version of an IP that this Vivado has.
proc newest {name} {
  set found [lsort -dictionary [get_ipdefs -all xilinx.com:ip:$name:*]]
  if {![llength $found]} { error "this Vivado has no IP $name" }
  return [lindex $found end]
}

create_bd_design weightstream
create_bd_cell -type ip -vlnv [newest processing_system7] processing_system7_0
set preset [expr {[get_property board_part [current_project]] ne ""}]
apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 \
  -config [list make_external {FIXED_IO, DDR} apply_board_preset $preset] [get_bd_cells processing_system7_0]
if {!$preset} {
  set_property -dict [list \
    CONFIG.PCW_CRYSTAL_PERIPHERAL_FREQMHZ "50" \
    CONFIG.PCW_APU_PERIPHERAL_FREQMHZ "650" \
    CONFIG.PCW_UIPARAM_DDR_FREQ_MHZ "525" \
    CONFIG.PCW_UIPARAM_DDR_BUS_WIDTH "16 Bit" \
    CONFIG.PCW_UIPARAM_DDR_PARTNO "MT41J256M16 RE-125" \
  ] [get_bd_cells processing_system7_0]
}
set_property -dict [list \
  CONFIG.PCW_USE_M_AXI_GP0 "1" \
  CONFIG.PCW_USE_S_AXI_HP0 "1" \
  CONFIG.PCW_S_AXI_HP0_DATA_WIDTH "64" \
  CONFIG.PCW_USE_FABRIC_INTERRUPT "1" \
  CONFIG.PCW_IRQ_F2P_INTR "1" \
  CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ "100" \
] [get_bd_cells processing_system7_0]

create_bd_cell -type ip -vlnv weightstream:weightstream:accelerator:1.0 accelerator_0
create_bd_cell -type ip -vlnv [newest axi_intc] axi_intc_0
create_bd_cell -type ip -vlnv [newest proc_sys_reset] reset_0
create_bd_cell -type ip -vlnv [newest smartconnect] control_0
create_bd_cell -type ip -vlnv [newest smartconnect] memory_0
set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 2] [get_bd_cells control_0]
set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 1] [get_bd_cells memory_0]
# A single level line towards the processor: that is what pynq serves.
set_property -dict [list CONFIG.C_IRQ_CONNECTION 1 CONFIG.C_IRQ_IS_LEVEL 1] \
  [get_bd_cells axi_intc_0]

proc link {from to} {
  connect_bd_intf_net [get_bd_intf_pins $from] [get_bd_intf_pins $to]
}
proc wire {from args} {
  foreach to $args {
    connect_bd_net [get_bd_pins $from] [get_bd_pins $to]
  }
}
link processing_system7_0/M_AXI_GP0 control_0/S00_AXI
link control_0/M00_AXI accelerator_0/s_axi
link control_0/M01_AXI axi_intc_0/s_axi
link accelerator_0/m_axi memory_0/S00_AXI
link memory_0/M00_AXI processing_system7_0/S_AXI_HP0
wire accelerator_0/interrupt axi_intc_0/intr
wire axi_intc_0/irq processing_system7_0/IRQ_F2P
wire processing_system7_0/FCLK_CLK0 processing_system7_0/M_AXI_GP0_ACLK processing_system7_0/S_AXI_HP0_ACLK \
  accelerator_0/aclk axi_intc_0/s_axi_aclk control_0/aclk memory_0/aclk reset_0/slowest_sync_clk
wire processing_system7_0/FCLK_RESET0_N reset_0/ext_reset_in
wire reset_0/peripheral_aresetn accelerator_0/aresetn axi_intc_0/s_axi_aresetn \
  control_0/aresetn memory_0/aresetn

proc place {space segment address range} {
  assign_bd_address -offset $address -range $range \
    -target_address_space [get_bd_addr_spaces $space] [get_bd_addr_segs $segment]
}
place processing_system7_0/Data accelerator_0/s_axi/registers 0x43C00000 4096
place processing_system7_0/Data axi_intc_0/S_AXI/Reg 0x41800000 65536
# As much memory as the processor has.
set segment [get_bd_addr_segs -quiet processing_system7_0/S_AXI_HP0/HP0_DDR_LOWOCM]
if {[llength $segment]} {
  assign_bd_address -target_address_space [get_bd_addr_spaces accelerator_0/m_axi] $segment
}

validate_bd_design
save_bd_design
