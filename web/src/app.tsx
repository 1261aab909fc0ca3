// The page as a whole.
import {useEffect, useRef, useState} from 'preact/hooks';
import {attach} from './attach';
import {Composer, wish} from './composer';
import {Asked, KeyDialog, KeysDialog, SettingsDialog} from './dialogs';
import {Mark, Panel, Plus} from './icons';
import {language, t} from './i18n';
import {settings} from './settings';
import {drawer, find, hideSidebar, narrow, showSidebar, Sidebar} from './sidebar';
import {busy, current, go, keyWish, model, shown, spoken, stop, toast, training} from './state';
import {invited, SignIn} from './signin';
import {Thread} from './thread';
import {Training} from './train';
import {Usage, usageShown} from './usage';

const ideas = ['idea1', 'idea2', 'idea3', 'idea4'] as const;

function Welcome() {
    return (
        <div class="welcome">
            <Mark size={56} />
            <h1>{t('greeting')}</h1>
            <p>{t('promise')}</p>
            <ul aria-label={t('ideas')}>
                {ideas.map((i) => <li key={i}><button type="button" onClick={() => (wish.value = t(i))}>{t(i)}</button></li>)}
            </ul>
        </div>
    );
}

function Conversing({empty}: {empty: boolean}) {
    return (
        <>
            {empty ? <Welcome /> : <Thread />}
            <div class="column foot">
                <Composer />
                <p class="caution">{t('caution')}</p>
            </div>
        </>
    );
}

export function App() {
    const [over, setOver] = useState<'settings' | 'keys' | null>(null);
    const [dropping, setDropping] = useState(false);
    const drags = useRef(0);
    const [slim, setSlim] = useState(narrow.matches);
    const open = slim ? drawer.value : settings.value.sidebar;
    const c = current.value;
    const title = training.value ? t('training') : usageShown.value ? t('usage') : c?.title;
    useEffect(() => {
        document.documentElement.lang = language.value === 'zh' ? 'zh-CN' : 'en';
        document.title = title ? `${title} · Lisao` : 'Lisao';
    });
    useEffect(() => {
        const key = (e: KeyboardEvent) => {
            const mod = e.ctrlKey || e.metaKey, letter = e.key.toLowerCase();
            const typing = (e.target as HTMLElement).matches?.('input, textarea, select');
            const dialog = document.querySelector('dialog[open]');
            const doing =
                dialog ? null
                : mod && letter === 'k' ? find
                : mod && e.shiftKey && letter === 'o' ? () => go(null)
                : mod && e.shiftKey && letter === 's' ? () => (open ? hideSidebar() : showSidebar())
                : mod && letter === '/' ? () => setOver('keys')
                : letter === '/' && !typing ? () => document.getElementById('ask')?.focus()
                : letter === 'escape' && drawer.value ? () => (drawer.value = false)
                : letter === 'escape' && busy.value ? stop : null;
            if (doing) e.preventDefault(), doing();
        };
        addEventListener('keydown', key);
        return () => removeEventListener('keydown', key);
    }, [open]);
    useEffect(() => {
        const again = () => ((drawer.value = false), setSlim(narrow.matches));
        narrow.addEventListener('change', again);
        return () => narrow.removeEventListener('change', again);
    }, []);
    const other = training.value || usageShown.value;
    const hasFiles = (e: DragEvent) => !other && e.dataTransfer?.types.includes('Files');
    const empty = !shown.value.length;
    return (
        <div class={open ? 'app open' : 'app'}
             onDragEnter={(e) => hasFiles(e) && (drags.current++, setDropping(true))}
             onDragLeave={(e) => hasFiles(e) && --drags.current <= 0 && ((drags.current = 0), setDropping(false))}
             onDragOver={(e) => e.preventDefault()}
             onDrop={(e) => (e.preventDefault(), (drags.current = 0), setDropping(false), other || attach([...e.dataTransfer!.files]))}>
            {!usageShown.value && (
                <a class="skip" href={training.value ? '#runs' : '#ask'}
                   onClick={(e) => (e.preventDefault(), document.querySelector<HTMLElement>('#ask, #runs')?.focus())}>
                    {t(training.value ? 'skipRuns' : 'skip')}
                </a>
            )}
            {open && <Sidebar onSettings={() => setOver('settings')} onKeys={() => setOver('keys')} />}
            {drawer.value && <div class="shade" onClick={() => (drawer.value = false)} />}
            <main class={empty && !other ? 'empty' : undefined}>
                <header class="top">
                    {!open && <button type="button" class="icon" onClick={showSidebar} aria-label={t('showSidebar')} title={t('showSidebar')}><Panel /></button>}
                    {!open && <button type="button" class="icon" onClick={() => go(null)} aria-label={t('newChat')} title={t('newChat')}><Plus /></button>}
                    {training.value || usageShown.value || !empty ? <h1>{title}</h1> : <span class="gap" />}
                    {model.value && <span class="model" title={t('model')}>{model.value.id}</span>}
                </header>
                {training.value ? <Training /> : usageShown.value ? <Usage /> : <Conversing empty={empty} />}
            </main>
            {dropping && <div class="drop">{t('dropHere')}</div>}
            {over === 'settings' && <SettingsDialog onClose={() => setOver(null)} />}
            {over === 'keys' && <KeysDialog onClose={() => setOver(null)} />}
            <Asked />
            {invited.value ? <SignIn /> : keyWish.value !== 'none' && <KeyDialog />}
            {toast.value && <div class={toast.value.bad ? 'toast bad' : 'toast'} role={toast.value.bad ? 'alert' : 'status'}>{toast.value.text}</div>}
            <div class="unseen" role="status" aria-live="polite">{spoken.value}</div>
        </div>
    );
}
