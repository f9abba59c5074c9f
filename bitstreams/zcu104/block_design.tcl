# The block design for AMD ZCU104. Written by weightstream-hw; not run here: no Vivado.

# The newest version of an IP that this Vivado has.
proc newest {name} {
  set found [lsort -dictionary [get_ipdefs -all xilinx.com:ip:$name:*]]
  if {![llength $found]} { error "this Vivado has no IP $name" }
  return [lindex $found end]
}

create_bd_design weightstream
create_bd_cell -type ip -vlnv [newest zynq_ultra_ps_e] zynq_ultra_ps_e_0
set preset [expr {[get_property board_part [current_project]] ne ""}]
apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e \
  -config [list apply_board_preset $preset] [get_bd_cells zynq_ultra_ps_e_0]
set_property -dict [list \
  CONFIG.PSU__USE__M_AXI_GP0 "1" \
  CONFIG.PSU__MAXIGP0__DATA_WIDTH "32" \
  CONFIG.PSU__USE__M_AXI_GP1 "0" \
  CONFIG.PSU__USE__M_AXI_GP2 "0" \
  CONFIG.PSU__USE__S_AXI_GP2 "1" \
  CONFIG.PSU__SAXIGP2__DATA_WIDTH "128" \
  CONFIG.PSU__USE__IRQ0 "1" \
  CONFIG.PSU__FPGA_PL0_ENABLE "1" \
  CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ "150" \
] [get_bd_cells zynq_ultra_ps_e_0]

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
link zynq_ultra_ps_e_0/M_AXI_HPM0_FPD control_0/S00_AXI
link control_0/M00_AXI accelerator_0/s_axi
link control_0/M01_AXI axi_intc_0/s_axi
link accelerator_0/m_axi memory_0/S00_AXI
link memory_0/M00_AXI zynq_ultra_ps_e_0/S_AXI_HP0_FPD
wire accelerator_0/interrupt axi_intc_0/intr
wire axi_intc_0/irq zynq_ultra_ps_e_0/pl_ps_irq0
wire zynq_ultra_ps_e_0/pl_clk0 zynq_ultra_ps_e_0/maxihpm0_fpd_aclk zynq_ultra_ps_e_0/saxihp0_fpd_aclk \
  accelerator_0/aclk axi_intc_0/s_axi_aclk control_0/aclk memory_0/aclk reset_0/slowest_sync_clk
wire zynq_ultra_ps_e_0/pl_resetn0 reset_0/ext_reset_in
wire reset_0/peripheral_aresetn accelerator_0/aresetn axi_intc_0/s_axi_aresetn \
  control_0/aresetn memory_0/aresetn

proc place {space segment address range} {
  assign_bd_address -offset $address -range $range \
    -target_address_space [get_bd_addr_spaces $space] [get_bd_addr_segs $segment]
}
place zynq_ultra_ps_e_0/Data accelerator_0/s_axi/registers 0xA0000000 4096
place zynq_ultra_ps_e_0/Data axi_intc_0/S_AXI/Reg 0xA0010000 65536
# As much memory as the processor has.
set segment [get_bd_addr_segs -quiet zynq_ultra_ps_e_0/SAXIGP2/HP0_DDR_LOW]
if {[llength $segment]} {
  assign_bd_address -target_address_space [get_bd_addr_spaces accelerator_0/m_axi] $segment
}
set segment [get_bd_addr_segs -quiet zynq_ultra_ps_e_0/SAXIGP2/HP0_DDR_HIGH]
if {[llength $segment]} {
  assign_bd_address -target_address_space [get_bd_addr_spaces accelerator_0/m_axi] $segment
}

validate_bd_design
save_bd_design
