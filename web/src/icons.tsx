// The page's drawings, on a grid of 24.
import type {ComponentChildren} from 'preact';

function Icon({children, size = 20}: {children: ComponentChildren; size?: number}) {
    return (
        <svg width={size} height={size} viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.7"
             stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
            {children}
        </svg>
    );
}

/** Three leaves of an orchid. */
export const Mark = ({size = 24}: {size?: number}) => (
    <svg class="mark" width={size} height={size} viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8"
         stroke-linecap="round" aria-hidden="true">
        <path d="M12 21.500C12 13.500 12.500 8 16 2.500" />
        <path d="M12 21.500C11.500 14.500 9 9.500 3.500 7.500" />
        <path d="M12 21.500C12.500 16.500 15 13 20.500 11.500" />
    </svg>
);

export const Globe = () => <Icon size={18}><circle cx="12" cy="12" r="8.500" /><path d="M3.500 12h17M12 3.500c5 5 5 12 0 17M12 3.500c-5 5-5 12 0 17" /></Icon>;
export const Plus = () => <Icon><path d="M12 5v14M5 12h14" /></Icon>;
export const Search = () => <Icon size={18}><circle cx="11" cy="11" r="6.500" /><path d="m20 20-4.200-4.200" /></Icon>;
export const Panel = () => <Icon><rect x="3.500" y="4.500" width="17" height="15" rx="3" /><path d="M9.500 4.500v15" /></Icon>;
export const Gear = () => (
    <Icon size={18}>
        <path d="M4 7h9M17 7h3M4 17h3M11 17h9" /><circle cx="15" cy="7" r="2" /><circle cx="9" cy="17" r="2" />
    </Icon>
);
export const Bars = () => <Icon size={18}><path d="M5 20v-7M12 20V4M19 20v-11" /></Icon>;
export const Keys = () => <Icon size={18}><rect x="3" y="6" width="18" height="12" rx="2.500" /><path d="M7 10h.01M12 10h.01M17 10h.01M8.500 14h7" /></Icon>;
export const Dots = () => <Icon size={18}><path d="M5.500 12h.01M12 12h.01M18.500 12h.01" stroke-width="2.600" /></Icon>;
export const Pin = () => <Icon size={14}><path d="M12 16v5M8 4h8l-1 6 3 3v2H6v-2l3-3z" /></Icon>;
export const Up = () => <Icon><path d="M12 19V5M6 11l6-6 6 6" /></Icon>;
export const Down = () => <Icon size={18}><path d="M12 5v14M6 13l6 6 6-6" /></Icon>;
export const Square = () => <Icon><rect x="7" y="7" width="10" height="10" rx="2" fill="currentColor" /></Icon>;
export const Chip = () => <Icon size={18}><rect x="6.500" y="6.500" width="11" height="11" rx="2" /><path d="M9.500 3.500v3M14.500 3.500v3M9.500 17.500v3M14.500 17.500v3M3.500 9.500h3M3.500 14.500h3M17.500 9.500h3M17.500 14.500h3" /></Icon>;
export const Clip = () => <Icon><path d="m19.500 11-8 8a5 5 0 0 1-7-7l8.300-8.300a3.300 3.300 0 0 1 4.700 4.700L9.200 16.700a1.700 1.700 0 0 1-2.400-2.400L14 7" /></Icon>;
export const File = () => <Icon size={18}><path d="M13.500 3.500H7a1.500 1.500 0 0 0-1.500 1.500v14A1.500 1.500 0 0 0 7 20.500h10a1.500 1.500 0 0 0 1.500-1.500V8.500zM13.500 3.500v5h5" /></Icon>;
export const Cross = () => <Icon size={16}><path d="m6 6 12 12M18 6 6 18" /></Icon>;
export const Chevron = () => <Icon size={16}><path d="m9 6 6 6-6 6" /></Icon>;
export const Back = () => <Icon size={16}><path d="m15 6-6 6 6 6" /></Icon>;
export const Copy = () => <Icon size={16}><rect x="8.500" y="8.500" width="12" height="12" rx="2.500" /><path d="M15.500 5.500v-.5A1.500 1.500 0 0 0 14 3.500H5A1.500 1.500 0 0 0 3.500 5v9A1.500 1.500 0 0 0 5 15.500h.5" /></Icon>;
export const Check = () => <Icon size={16}><path d="m5 13 4.500 4.500L19 7" /></Icon>;
export const Wrap = () => <Icon size={16}><path d="M4 6h16M4 12h13a3 3 0 0 1 0 6h-4M15 15.500 12.500 18l2.500 2.500M4 18h4" /></Icon>;
export const Again = () => <Icon size={16}><path d="M19.500 12a7.500 7.500 0 1 1-2.200-5.300L20 9.300M20 4v5.300h-5.300" /></Icon>;
export const Pencil = () => <Icon size={16}><path d="M4 20h4L19 9l-4-4L4 16zM13 7l4 4" /></Icon>;
export const Info = () => <Icon size={16}><circle cx="12" cy="12" r="8.500" /><path d="M12 11v5M12 7.800h.01" /></Icon>;
export const Forward = () => <Icon size={16}><path d="M5 6v12l8-6zM18.500 6v12" /></Icon>;
export const Bulb = () => <Icon size={18}><path d="M9 17.500h6M10 20.500h4M8.500 14.500a6 6 0 1 1 7 0c-.7.600-1 1.500-1 3h-5c0-1.500-.300-2.400-1-3z" /></Icon>;
export const Book = () => <Icon size={18}><path d="M6.500 3.500H19v17H7.500A2.500 2.500 0 0 1 5 18V5a1.500 1.500 0 0 1 1.500-1.500zM5 18a2.500 2.500 0 0 1 2.500-2.500H19M9 7.500h6" /></Icon>;
export const Bin = () => <Icon size={16}><path d="M5 7h14M10 7V4.500h4V7M7 7l.8 12.500h8.400L17 7" /></Icon>;
export const Seal = () => <Icon size={16}><path d="M12 3.500 19 6v5.500c0 4.300-2.900 7.400-7 9-4.100-1.600-7-4.700-7-9V6z" /><path d="m9 12 2.200 2.200L15.200 10" /></Icon>;
export const Tokens = () => <Icon size={16}><rect x="3.500" y="5" width="7" height="6" rx="1.500" /><rect x="13" y="5" width="7.500" height="6" rx="1.500" /><rect x="3.500" y="14" width="10" height="6" rx="1.500" /><path d="M17 17h3.500" /></Icon>;
export const Chart = () => <Icon size={18}><path d="M4 4v14.500a1.500 1.500 0 0 0 1.500 1.500H20M8 15l3.500-5 3 3L19.500 6.500" /></Icon>;
