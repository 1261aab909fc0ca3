// A component that is drawn again only when one of its properties is another one.
import {Component, h, type ComponentChildren, type FunctionComponent} from 'preact';

export function pure<P extends object>(draw: (props: P) => ComponentChildren): FunctionComponent<P> {
    class Pure extends Component<P> {
        override shouldComponentUpdate(next: Readonly<P>): boolean {
            const old = this.props as Record<string, unknown>, now = next as Record<string, unknown>;
            return Object.keys({...old, ...now}).some((k) => old[k] !== now[k]);
        }
        render() {
            return h(Inner as FunctionComponent<P>, this.props as P);
        }
    }
    const Inner = (props: P) => draw(props);
    return Pure as unknown as FunctionComponent<P>;
}
