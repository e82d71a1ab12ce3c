// SPDX-License-Identifier: Apache-2.0
//! What a machine is made of. Sizes are in MB unless said otherwise.

use super::element::elements;

elements! {
    /// A battery.
    Battery {
        /// Capacity as designed, in mWh.
        capacity: Option<u64> = "CAPACITY",
        /// Kind of cells.
        chemistry: Option<String> = "CHEMISTRY",
        /// Maker.
        manufacturer: Option<String> = "MANUFACTURER",
        /// Name.
        name: Option<String> = "NAME",
        /// Serial number.
        serial: Option<String> = "SERIAL",
        /// Voltage, in mV.
        voltage: Option<u64> = "VOLTAGE",
    }

    /// Firmware (`firmware_…`), mainboard (`board_…`), and the machine.
    Bios {
        /// Asset tag.
        asset_tag: Option<String> = "ASSETTAG",
        /// Date of the firmware, as it says it.
        firmware_date: Option<String> = "BDATE",
        /// Maker of the firmware.
        firmware_manufacturer: Option<String> = "BMANUFACTURER",
        /// Version of the firmware.
        firmware_version: Option<String> = "BVERSION",
        /// Maker of the mainboard.
        board_manufacturer: Option<String> = "MMANUFACTURER",
        /// Model of the mainboard.
        board_model: Option<String> = "MMODEL",
        /// Serial number of the mainboard.
        board_serial: Option<String> = "MSN",
        /// Number of the model, for orders.
        sku: Option<String> = "SKUNUMBER",
        /// Maker of the machine.
        manufacturer: Option<String> = "SMANUFACTURER",
        /// Model of the machine.
        model: Option<String> = "SMODEL",
        /// Serial number of the machine.
        serial: Option<String> = "SSN",
    }

    /// A device on a bus.
    Controller {
        /// Name, as the list of devices has it.
        caption: Option<String> = "CAPTION",
        /// Kernel module.
        driver: Option<String> = "DRIVER",
        /// Maker.
        manufacturer: Option<String> = "MANUFACTURER",
        /// Name.
        name: Option<String> = "NAME",
        /// Class, hexadecimal.
        class: Option<String> = "PCICLASS",
        /// Place on the bus.
        slot: Option<String> = "PCISLOT",
        /// Vendor and device of the card.
        subsystem: Option<String> = "PCISUBSYSTEMID",
        /// Device, hexadecimal.
        product_id: Option<String> = "PRODUCTID",
        /// Revision.
        revision: Option<String> = "REV",
        /// Kind of device.
        kind: Option<String> = "TYPE",
        /// Vendor, hexadecimal.
        vendor_id: Option<String> = "VENDORID",
    }

    /// A processor.
    Cpu {
        /// Instruction set.
        arch: Option<String> = "ARCH",
        /// Cores.
        cores: Option<u64> = "CORE",
        /// Description.
        description: Option<String> = "DESCRIPTION",
        /// Family.
        family: Option<String> = "FAMILYNUMBER",
        /// Maker.
        manufacturer: Option<String> = "MANUFACTURER",
        /// Model number.
        model: Option<String> = "MODEL",
        /// Name.
        name: Option<String> = "NAME",
        /// Nominal speed, in MHz.
        speed: Option<u64> = "SPEED",
        /// Stepping.
        stepping: Option<String> = "STEPPING",
        /// Threads.
        threads: Option<u64> = "THREAD",
    }

    /// A mounted file system.
    Drive {
        /// Description (Windows).
        description: Option<String> = "DESCRIPTION",
        /// Kind of file system.
        filesystem: Option<String> = "FILESYSTEM",
        /// Free space.
        free: Option<u64> = "FREE",
        /// Label.
        label: Option<String> = "LABEL",
        /// Drive letter (Windows).
        letter: Option<String> = "LETTER",
        /// UUID.
        serial: Option<String> = "SERIAL",
        /// Size.
        total: Option<u64> = "TOTAL",
        /// Where it is mounted.
        mounted_on: Option<String> = "TYPE",
        /// Device, or name of what is mounted.
        volume: Option<String> = "VOLUMN",
    }

    /// Summary of the machine.
    Hardware {
        /// Kind of housing.
        chassis: Option<String> = "CHASSIS_TYPE",
        /// When somebody last logged in, as the system says it.
        last_login: Option<String> = "DATELASTLOGGEDUSER",
        /// Default gateway.
        gateway: Option<String> = "DEFAULTGATEWAY",
        /// Name servers, separated by slashes.
        name_servers: Option<String> = "DNS",
        /// Seconds that making the inventory took.
        duration: Option<u64> = "ETIME",
        /// Addresses, separated by slashes.
        addresses: Option<String> = "IPADDR",
        /// Who last logged in.
        last_user: Option<String> = "LASTLOGGEDUSER",
        /// Memory.
        memory: Option<u64> = "MEMORY",
        /// Short host name.
        name: Option<String> = "NAME",
        /// Version of the kernel in words.
        os_comments: Option<String> = "OSCOMMENTS",
        /// Operating system in words.
        os_name: Option<String> = "OSNAME",
        /// Release of the kernel.
        os_version: Option<String> = "OSVERSION",
        /// How many processors.
        processors: Option<u64> = "PROCESSORN",
        /// Speed of a processor, in MHz.
        processor_speed: Option<u64> = "PROCESSORS",
        /// Name of a processor.
        processor: Option<String> = "PROCESSORT",
        /// Swap space.
        swap: Option<u64> = "SWAP",
        /// Accounts that are logged in, separated by slashes.
        logged_in: Option<String> = "USERID",
        /// UUID of the machine.
        uuid: Option<String> = "UUID",
        /// Hypervisor below it, or `Physical`.
        virtual_machine: Option<String> = "VMSYSTEM",
        /// Company that Windows is registered for.
        windows_company: Option<String> = "WINCOMPANY",
        /// Language of Windows.
        windows_language: Option<String> = "WINLANG",
        /// Product id of Windows.
        windows_product_id: Option<String> = "WINPRODID",
        /// Workgroup or domain.
        workgroup: Option<String> = "WORKGROUP",
    }

    /// A logical volume.
    LogicalVolume {
        /// Attributes, as `lvs` prints them.
        attributes: Option<String> = "ATTR",
        /// Name.
        name: Option<String> = "LV_NAME",
        /// UUID.
        uuid: Option<String> = "LV_UUID",
        /// Segments.
        segments: Option<u64> = "SEG_COUNT",
        /// Size.
        size: Option<u64> = "SIZE",
        /// UUID of its volume group.
        group_uuid: Option<String> = "VG_UUID",
    }

    /// A memory module, or an empty place for one.
    Memory {
        /// Size.
        capacity: Option<u64> = "CAPACITY",
        /// Name of the place.
        caption: Option<String> = "CAPTION",
        /// Shape.
        description: Option<String> = "DESCRIPTION",
        /// Maker.
        manufacturer: Option<String> = "MANUFACTURER",
        /// Number of the place.
        slot: Option<u64> = "NUMSLOTS",
        /// Serial number.
        serial: Option<String> = "SERIALNUMBER",
        /// Speed, in MHz.
        speed: Option<String> = "SPEED",
        /// Kind, such as `DDR4`.
        kind: Option<String> = "TYPE",
    }

    /// A physical volume.
    PhysicalVolume {
        /// Attributes, as `pvs` prints them.
        attributes: Option<String> = "ATTR",
        /// Device.
        device: Option<String> = "DEVICE",
        /// Format.
        format: Option<String> = "FORMAT",
        /// UUID.
        uuid: Option<String> = "PV_UUID",
        /// Size.
        size: Option<u64> = "SIZE",
        /// UUID of its volume group.
        group_uuid: Option<String> = "VG_UUID",
    }

    /// A port of the mainboard.
    Port {
        /// Name outside.
        caption: Option<String> = "CAPTION",
        /// Description.
        description: Option<String> = "DESCRIPTION",
        /// Name.
        name: Option<String> = "NAME",
        /// Kind.
        kind: Option<String> = "TYPE",
    }

    /// A slot of the mainboard.
    Slot {
        /// Description.
        description: Option<String> = "DESCRIPTION",
        /// What is written beside it.
        designation: Option<String> = "DESIGNATION",
        /// Name.
        name: Option<String> = "NAME",
        /// Whether something is in it.
        status: Option<String> = "STATUS",
    }

    /// A sound device.
    Sound {
        /// Description.
        description: Option<String> = "DESCRIPTION",
        /// Maker.
        manufacturer: Option<String> = "MANUFACTURER",
        /// Name.
        name: Option<String> = "NAME",
    }

    /// A disk, or a drive for other media.
    Storage {
        /// How it is attached.
        description: Option<String> = "DESCRIPTION",
        /// Size.
        size: Option<u64> = "DISKSIZE",
        /// Version of its firmware.
        firmware: Option<String> = "FIRMWARE",
        /// How it is attached.
        interface: Option<String> = "INTERFACE",
        /// Maker.
        manufacturer: Option<String> = "MANUFACTURER",
        /// Model.
        model: Option<String> = "MODEL",
        /// Name of the device.
        name: Option<String> = "NAME",
        /// Serial number.
        serial: Option<String> = "SERIALNUMBER",
        /// Kind, such as `disk`.
        kind: Option<String> = "TYPE",
    }

    /// A graphics device.
    Video {
        /// Chip.
        chipset: Option<String> = "CHIPSET",
        /// Memory.
        memory: Option<u64> = "MEMORY",
        /// Name.
        name: Option<String> = "NAME",
        /// Resolution.
        resolution: Option<String> = "RESOLUTION",
    }

    /// A virtual machine on this one.
    VirtualMachine {
        /// Memory.
        memory: Option<u64> = "MEMORY",
        /// Name.
        name: Option<String> = "NAME",
        /// Account that owns it.
        owner: Option<String> = "OWNER",
        /// State.
        status: Option<String> = "STATUS",
        /// What runs it.
        subsystem: Option<String> = "SUBSYSTEM",
        /// UUID.
        uuid: Option<String> = "UUID",
        /// Processors.
        processors: Option<u64> = "VCPU",
        /// Kind of virtualisation.
        kind: Option<String> = "VMTYPE",
    }

    /// A volume group.
    VolumeGroup {
        /// Attributes, as `vgs` prints them.
        attributes: Option<String> = "ATTR",
        /// Logical volumes in it.
        logical_volumes: Option<u64> = "LV_COUNT",
        /// Physical volumes in it.
        physical_volumes: Option<u64> = "PV_COUNT",
        /// Size.
        size: Option<u64> = "SIZE",
        /// Name.
        name: Option<String> = "VG_NAME",
        /// UUID.
        uuid: Option<String> = "VG_UUID",
    }
}
