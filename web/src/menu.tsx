// A button that opens something beside it: a menu of commands, or a panel of any content.
import type {ComponentChildren} from 'preact';
import {useLayoutEffect, useRef, useState} from 'preact/hooks';

/** Makes a text field as high as its text, where the browser does not do so itself. */
export function fitText(area: HTMLTextAreaElement): void {
    if (CSS.supports('field-sizing', 'content')) return;
    area.style.height = 'auto';
    area.style.height = `${area.scrollHeight}px`;
}

interface Props {
    label: string;
    /** What the button shows. */
    face: ComponentChildren;
    class?: string;
    menu: boolean;
    side: 'up' | 'down';
    align?: 'start' | 'end';
    children: (close: () => void) => ComponentChildren;
}

export function Opener({label, face, class: look, menu, side, align = 'start', children}: Props) {
    const [open, setOpen] = useState(false);
    const place = useRef<HTMLDivElement>(null);
    const button = useRef<HTMLButtonElement>(null);
    const close = () => {
        setOpen(false);
        button.current?.focus();
    };
    const items = () => [...place.current!.querySelectorAll<HTMLElement>('[role^=menuitem]')];
    // Before the next key comes: it is meant for the menu already.
    useLayoutEffect(() => {
        if (!open) return;
        const outside = (e: Event) => !place.current!.contains(e.target as Node) && setOpen(false);
        addEventListener('pointerdown', outside);
        if (menu) (items().find((x) => x.ariaChecked === 'true') ?? items()[0])?.focus();
        return () => removeEventListener('pointerdown', outside);
    }, [open]);
    const key = (e: KeyboardEvent) => {
        if (!open) return;
        if (e.key === 'Escape') e.stopPropagation(), close();
        if (!menu) return;
        const all = items(), at = all.indexOf(document.activeElement as HTMLElement);
        const to = {ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1}[e.key];
        if (to !== undefined) e.preventDefault(), all.at(to % all.length)?.focus();
        if (e.key === 'Tab') setOpen(false);
    };
    return (
        <div class="opener" ref={place} onKeyDown={key}>
            <button type="button" ref={button} class={look ?? 'icon'} aria-label={label} title={label} aria-expanded={open}
                    aria-haspopup={menu ? 'menu' : 'dialog'} onClick={() => setOpen(!open)}>
                {face}
            </button>
            {open && (
                <div class={`popup ${side} ${align}`} role={menu ? 'menu' : 'dialog'} aria-label={label}>
                    {children(close)}
                </div>
            )}
        </div>
    );
}

export function Item({icon, onPick, danger, children}: {icon?: ComponentChildren; onPick: () => void; danger?: boolean;
                                                        children: ComponentChildren}) {
    return (
        <button type="button" role="menuitem" tabIndex={-1} class={danger ? 'item danger' : 'item'} onClick={onPick}>
            {icon}
            <span>{children}</span>
        </button>
    );
}
