/* A disk's first sector, as OSv's arch/x64/boot16.S: 63 sectors of command line from sector 1, the kernel from 128. */
.code16
.globl boot
boot:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    movw $line_packet, %si
    movb $0x42, %ah
    int $0x13
    jc failed
    movw $kernel_packet, %si
    movb $0x42, %ah
    int $0x13
    jc failed
    lgdt table_register
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $8, $protected
failed:
    hlt
    jmp failed
.code32
protected:
    movw $16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $0x10000, %esi
    movl $0x100000, %edi
    movl $(KERNEL_SECTORS * 512 / 4), %ecx
    cld
    rep movsl
    xorl %ebx, %ebx
    movl $0x100000, %eax
    jmp *%eax
.balign 4
line_packet: /* disk address packet of the extended read: size, sectors, offset, segment, first sector */
    .byte 16, 0
    .word 63, 0x7e00, 0
    .quad 1
kernel_packet:
    .byte 16, 0
    .word KERNEL_SECTORS, 0, 0x1000
    .quad 128
table:
    .quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
table_register:
    .word 23
    .long table
.org boot + 0x1b8
    .ascii "VSO" /* by which an OSv disk is known */
.org boot + 510
    .word 0xaa55
